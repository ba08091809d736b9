// The card Record a voice of your own.

import { askServer } from "./connect.js";
import { $, alert, drawLevel, onPress, tell } from "./elements.js";
import { lacking, page } from "./page.js";
import { devices } from "./settings-card.js";
import * as voices from "./voices.js";
import { chooseOwn, showVoices } from "./voices-card.js";
import * as words from "./words.js";

let recorded = null; // samples of the last recording

export function prepareOwn() {
  onPress("record", recordVoice);
  $("keep").onclick = keepOnServer;
}

async function recordVoice() {
  if (page.recording) {
    page.recording.abort();
    return;
  }
  alert(lacking());
  if (lacking()) return;
  page.recording = new AbortController();
  recorded = null;
  $("keep").hidden = true;
  $("record").textContent = "Stop";
  tell("own-status", "Read the text aloud now.");
  try {
    const samples = await voices.record(devices(), page.recording.signal, (share, peak) => {
      $("recorded").value = share;
      drawLevel(peak);
    });
    if (samples) await enroll(samples);
    else tell("own-status", "Stopped: nothing was kept.");
  } catch (error) {
    tell("own-status", words.sentence(error));
  }
  page.recording = null;
  $("recorded").value = 0;
  $("record").textContent = "Record";
}

async function enroll(samples) {
  tell("own-status", "Listening to it …");
  const quality = voices.quality(samples);
  const { data, identity, alike } = await voices.enroll(samples, page.token);
  const name = givenName();
  const others = voices.ownVoices().filter((one) => one.name !== name);
  const isKept = voices.keepVoices([{ name, data, identity }, ...others]);
  chooseOwn(name);
  recorded = samples;
  $("keep").hidden = !page.server?.keeps_voices;
  const faults = voices.faults(quality, alike);
  if (!isKept) faults.push("This browser keeps nothing: the voice is there until the page is closed.");
  const measured = `${quality.speech.toFixed(1)} s of speech, ${quality.noise.toFixed(0)} dB above the noise.`;
  tell("own-status", `${name} is ready: ${measured} ${faults.join(" ") || "A good recording."}`);
}

function givenName() {
  return $("own-name").value.trim() || "My voice";
}

/** Has the server listen once more, and keep the voice; names have no spaces there. */
async function keepOnServer() {
  const name = givenName().normalize("NFC").replaceAll(/\s+/g, "-");
  $("keep").disabled = true;
  try {
    await voices.enroll(recorded, page.token, name);
    page.server = await askServer(page.token);
    showVoices();
    $("keep").hidden = true;
    tell("own-status", `The server keeps it as ${name}.`);
  } catch (error) {
    tell("own-status", words.sentence(error));
  }
  $("keep").disabled = false;
}
