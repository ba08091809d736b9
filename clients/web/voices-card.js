// The card Voice: the list, trying a voice out, pitch and loudness.

import { $, alert, element, pressed, say } from "./elements.js";
import { keep, kept, page } from "./page.js";
import { play, stopPlaying } from "./preview.js";
import * as voices from "./voices.js";
import * as words from "./words.js";

let known = []; // voices: {name, about, voice, identity, own}
let chosen = null;
let tried = null; // the button whose voice is to be heard next

export function prepareVoices() {
  for (const [id, name] of [["pitch", "shift"], ["gain", "gain"]]) {
    $(id).value = kept[name];
    $(id).oninput = () => {
      keep({ [name]: Number($(id).value) });
      showSliders();
      if (chosen) page.talk?.choose(wanted());
    };
  }
  showSliders();
}

function showSliders() {
  $("pitch-value").textContent = `${kept.shift > 0 ? "+" : ""}${kept.shift}`;
  $("gain-value").textContent = `${kept.gain > 0 ? "+" : ""}${kept.gain} dB`;
}

/** Lists own voices and those of the server. */
export function showVoices() {
  const about = page.server.about_voices ?? {};
  const own = voices.ownVoices().map((one) => ({ ...one, voice: one.data, own: true, about: "yours" }));
  const named = page.server.voices.map((name) => ({ name, voice: name, about: about[name] ?? words.about(name) }));
  known = [...own, ...named];
  chosen = known.find((one) => key(one) === kept.voice) ?? chosen ?? known[0] ?? null;
  $("voices").replaceChildren(...known.map(voiceRow));
  $("talk").disabled = page.room === null && !chosen;
  if (!chosen) say("This server knows no voices: record one below.");
}

function key(one) {
  return one.own ? `own/${one.name}` : one.name;
}

function voiceRow(one, index) {
  const row = element("li", { role: "none" });
  const radio = element("input", { type: "radio", name: "voice", id: `voice-${index}` });
  radio.checked = one === chosen;
  radio.onchange = () => choose(one);
  const label = element("label", { htmlFor: radio.id, textContent: `${one.name} ` });
  label.append(element("small", { textContent: one.about }));
  const button = element("button", { textContent: "Play", "aria-label": `Play ${one.name}` });
  button.onclick = () => tryOut(one, button);
  row.append(radio, label, button);
  if (one.own) {
    const forget = element("button", { textContent: "Forget", "aria-label": `Forget ${one.name}` });
    forget.onclick = () => forgetVoice(one);
    row.append(forget);
  }
  return row;
}

function choose(one) {
  chosen = one;
  keep({ voice: key(one) });
  page.talk?.choose(wanted());
}

/** Chooses the own voice of this name, which was kept just now. */
export function chooseOwn(name) {
  chosen = null;
  keep({ voice: key({ name, own: true }) });
  showVoices();
  page.talk?.choose(wanted());
}

function forgetVoice(one) {
  voices.keepVoices(voices.ownVoices().filter((other) => other.name !== one.name));
  if (chosen === one) chosen = null;
  showVoices();
  if (chosen) choose(chosen);
}

/** The choice for a Talk. */
export function wanted() {
  return {
    voice: chosen.voice,
    identity: chosen.identity,
    shift: kept.shift,
    gain: 10 ** (kept.gain / 20),
    mute: pressed("mute"),
    bypass: pressed("bypass"),
    hear: pressed("hear"),
  };
}

async function tryOut(one, button) {
  if (button === tried || stopPlaying()) return;
  tried = button;
  button.textContent = "…";
  try {
    const { voice, identity } = one;
    const sound = await voices.tryVoice({ voice, identity, shift: kept.shift }, page.token);
    if (tried === button) await play(sound, button, "Play");
    else button.textContent = "Play";
  } catch (error) {
    alert(words.sentence(error));
    button.textContent = "Play";
  }
  if (tried === button) tried = null;
}
