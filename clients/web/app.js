// The page: what is shown and pressed. What is heard and sent is in talk.js and listen.js.

import { loadCodec } from "./codec-thread.js";
import { askServer } from "./connect.js";
import { whatIsMissing } from "./devices.js";
import { wav } from "./history.js";
import { Rate, STAGES } from "./ledger.js";
import { Listen } from "./listen.js";
import { now } from "./session.js";
import { Talk } from "./talk.js";
import * as voices from "./voices.js";
import * as words from "./words.js";

const DRAW_EVERY = 100; // ms
const FLOOR = -60; // dB
const SETTINGS = "facodec.settings";
const TOKEN = "facodec.token";
const $ = (id) => document.getElementById(id);

/** What the page does now; tests look here too. */
export const page = { talk: null, listen: null, token: null, room: null, server: null };
let known = []; // voices: {name, label, about, voice, identity, own}
let chosen = null;
let playing = null;
let recording = null;
let last = null; // the Talk whose sound can be compared
const kept = { voice: null, echo: true, noise: false, shift: 0, gain: 0, ...stored() };
const rates = { up: new Rate(), down: new Rate() };

// ------------------------------------------------------------------------------------ beginning

function begin() {
  readLink();
  for (const stage of STAGES) $("bar").append(segment(stage));
  $("ledger").append(...STAGES.map((stage) => figure(stage, "ms", true)));
  $("wire").append(figure("up", "kbit/s"), figure("down", "kbit/s"), figure("underruns", ""), figure("codec", ""));
  $("delay-note").textContent = words.EXPLAINED.delay;
  $("pitch").value = kept.shift;
  $("gain").value = kept.gain;
  $("echo").checked = kept.echo;
  $("noise").checked = kept.noise;
  $("room").value = `room-${1000 + Math.floor(9000 * Math.random())}`;
  showSliders();
  listenToButtons();
  setInterval(draw, DRAW_EVERY);
  alert(lacking());
  meetServer();
}

/** Token and room come in the fragment, which browsers send to nobody; the token is taken out of
 * sight and kept as long as this tab. */
function readLink() {
  const link = new URLSearchParams(location.hash.slice(1));
  if (link.has("token")) {
    sessionStorage.setItem(TOKEN, link.get("token"));
    link.delete("token");
    history.replaceState(null, "", location.pathname + location.search + (`${link}` && `#${link}`));
  }
  page.token = sessionStorage.getItem(TOKEN) ?? undefined;
  page.room = link.get("room");
  $("talk").disabled = page.room === null; // until the voices are known
  document.body.classList.toggle("listens", page.room !== null);
  if (page.room !== null) {
    document.title = `Listen to ${page.room}`;
    $("talk-word").textContent = "Listen";
    say(`Press Listen to hear ${page.room}.`);
  }
}

/** Why nobody can talk, or listen, here; null where they can. */
function lacking() {
  return page.room === null && whatIsMissing() ? words.missing(whatIsMissing()) : null;
}

async function meetServer() {
  try {
    page.server = await askServer(page.token);
  } catch (error) {
    alert(words.sentence(error));
    setTimeout(meetServer, 3000);
    return;
  }
  if (page.server.wrong) sessionStorage.removeItem(TOKEN); // each try counts
  alert(page.server.wrong ? words.sentence({ code: "unauthorized" }) : lacking());
  $("token-form").hidden = !page.server.needsToken;
  $("share-token-row").hidden = !page.token;
  if (page.server.needsToken) return;
  loadCodec(page.server.page_model, page.token);
  showVoices();
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS) ?? "{}");
  } catch {
    return {};
  }
}

function keep(change) {
  Object.assign(kept, change);
  localStorage.setItem(SETTINGS, JSON.stringify(kept));
}

// --------------------------------------------------------------------------------------- voices

function showVoices() {
  const about = page.server.about_voices ?? {};
  const own = voices.ownVoices().map((one) => ({ ...one, voice: one.data, own: true, about: "yours" }));
  const named = page.server.voices.map((name) => ({ name, voice: name, about: about[name] ?? "" }));
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
  const play = element("button", { textContent: "Play", "aria-label": `Play ${one.name}` });
  play.onclick = () => tryOut(one, play);
  row.append(radio, label, play);
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

function wanted() {
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
  if (playing) return stopPlaying();
  button.textContent = "…";
  try {
    const { voice, identity } = one;
    await play(await voices.tryVoice({ voice, identity, shift: kept.shift }, page.token), button, "Play");
  } catch (error) {
    alert(words.sentence(error));
    button.textContent = "Play";
  }
}

/** Plays samples; the button stops it. */
async function play(samples, button, word) {
  stopPlaying();
  const sound = new Audio(URL.createObjectURL(wav(samples)));
  playing = sound;
  button.textContent = "Stop";
  sound.onended = sound.onpause = () => {
    URL.revokeObjectURL(sound.src);
    button.textContent = word;
    if (playing === sound) playing = null;
  };
  await sound.play();
}

function stopPlaying() {
  playing?.pause();
  playing = null;
}

async function recordVoice() {
  if (recording) {
    recording.abort();
    return;
  }
  alert(lacking());
  if (lacking()) return;
  recording = new AbortController();
  $("record").textContent = "Stop";
  tell("own-status", "Read the text aloud now.");
  try {
    const samples = await voices.record(devices(), recording.signal, (share, peak) => {
      $("recorded").value = share;
      drawLevel(peak);
    });
    if (samples) await enroll(samples);
    else tell("own-status", "Stopped: nothing was kept.");
  } catch (error) {
    tell("own-status", words.sentence(error));
  }
  recording = null;
  $("recorded").value = 0;
  $("record").textContent = "Record";
}

async function enroll(samples) {
  tell("own-status", "Listening to it …");
  const quality = voices.quality(samples);
  const { data, identity, alike } = await voices.enroll(samples, page.token);
  const name = $("own-name").value.trim() || "My voice";
  const others = voices.ownVoices().filter((one) => one.name !== name);
  voices.keepVoices([{ name, data, identity }, ...others]);
  chosen = null;
  keep({ voice: `own/${name}` });
  showVoices();
  page.talk?.choose(wanted());
  const faults = voices.faults(quality, alike);
  const measured = `${quality.speech.toFixed(1)} s of speech, ${quality.noise.toFixed(0)} dB above the noise.`;
  tell("own-status", `${name} is ready: ${measured} ${faults.join(" ") || "A good recording."}`);
}

function forgetVoice(one) {
  voices.keepVoices(voices.ownVoices().filter((other) => other.name !== one.name));
  if (chosen === one) chosen = null;
  showVoices();
  if (chosen) choose(chosen);
}

// --------------------------------------------------------------------------- talking, listening

async function toggle() {
  if (page.talk || page.listen) {
    (page.talk ?? page.listen).stop();
    return;
  }
  alert(lacking());
  if (lacking()) return;
  const on = { state: showState, context: showContext, room: showRoom };
  const going = page.room ? new Listen(on, page.room, page.token) : new Talk(on, wanted(), devices(), page.token);
  page[page.room ? "listen" : "talk"] = going;
  last = page.talk ?? last;
  let failure = null;
  try {
    await going.run();
  } catch (error) {
    failure = error;
  }
  page.talk = page.listen = null;
  showState("stopped");
  if (failure) alert(words.sentence(failure));
  if (failure?.code === "unauthorized") $("token-form").hidden = false;
}

function devices() {
  return { device: $("device").value || null, echo: kept.echo, noise: kept.noise };
}

function showState(name, error, seconds) {
  const going = name !== "stopped";
  $("talk").classList.toggle("live", going);
  $("talk-word").textContent = going ? "Stop" : page.room ? "Listen" : "Talk";
  document.body.dataset.state = name;
  if (name === "talking") showDevices();
  if (!going) $("resume").hidden = true;
  say({
    starting: page.room ? "Starting …" : "The browser may ask whether this page may use the microphone.",
    connecting: "Connecting …",
    talking: "You are live. Say something.",
    waiting: `Waiting for somebody to broadcast in ${page.room} …`,
    listening: `You hear ${page.room}, live.`,
    stopped: page.room ? "Stopped." : "Stopped. Before and after can be heard below.",
    "microphone-changed": "The microphone went away: taking the usual one.",
    "microphone-lost": words.sentence(error),
    reconnecting: error && words.retry(error, seconds),
  }[name]);
}

function showContext(state) {
  const halted = state === "suspended" || state === "interrupted";
  $("resume").hidden = !halted;
  if (halted) say("The browser has halted the sound.");
}

async function toggleBroadcast() {
  if (pressed("broadcast")) {
    page.talk?.stopBroadcast();
    showRoom("stopped");
    return;
  }
  if (!page.talk) {
    tell("room-status", "Press Talk first, then Broadcast.");
    return;
  }
  press("broadcast", true);
  tell("room-status", "Opening the room …");
  await page.talk.broadcast($("room").value.trim());
}

function showRoom(state, error) {
  const going = state === "live" || state === "reconnecting";
  press("broadcast", going);
  $("room").disabled = going;
  $("link-row").hidden = !going;
  if (going) showLink();
  tell("room-status", {
    live: "You are live. Whoever opens this link hears you:",
    reconnecting: error && `${words.sentence(error)} Opening the room again …`,
    stopped: "The broadcast has ended.",
    failed: error && words.sentence(error),
  }[state]);
}

function showLink() {
  const link = new URLSearchParams({ room: $("room").value.trim() });
  if (page.token && $("share-token").checked) link.set("token", page.token);
  $("link").value = `${location.origin}${location.pathname}#${link}`;
}

async function showDevices() {
  const found = await navigator.mediaDevices.enumerateDevices();
  const inputs = found.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId !== "default");
  const before = $("device").value;
  const options = inputs.map(({ deviceId, label }) => new Option(label || "Microphone", deviceId));
  $("device").replaceChildren(new Option("The usual one", ""), ...options);
  $("device").value = inputs.some(({ deviceId }) => deviceId === before) ? before : "";
}

async function changeDevices() {
  keep({ echo: $("echo").checked, noise: $("noise").checked });
  try {
    await page.talk?.chooseDevices(devices());
  } catch (error) {
    alert(words.sentence(error));
  }
}

// --------------------------------------------------------------------------------- what is shown

function draw() {
  const going = page.talk ?? page.listen;
  if (recording && !going) return;
  drawLevel(going?.peak ?? 0);
  if (!going) return;
  going.peak = 0;
  const medians = page.talk?.ledger.medians() ?? {};
  const values = STAGES.map((stage) => medians[stage] ?? 0);
  const sum = values.reduce((a, b) => a + b, 0);
  STAGES.forEach((stage, i) => {
    $("bar").children[i].style.flexGrow = values[i];
    if (stage in medians) $(`figure-${stage}`).textContent = values[i].toFixed(1);
  });
  $("sum").textContent = sum ? `${sum.toFixed(0)} ms` : "–";
  for (const way of ["up", "down"]) {
    $(`figure-${way}`).textContent = rates[way].at(now(), going.wire[way]).toFixed(0);
  }
  $("figure-underruns").textContent = going.underruns;
  $("figure-codec").textContent = words.CODEC[going.computes] ?? "–";
}

function drawLevel(peak) {
  const level = Math.max(FLOOR, 20 * Math.log10(peak + 1e-6));
  $("level").firstElementChild.style.width = `${100 * (1 - level / FLOOR)}%`;
  $("level").setAttribute("aria-valuenow", level.toFixed(0));
}

function segment(stage) {
  return element("span", { className: `s${STAGES.indexOf(stage)}` });
}

function figure(name, unit, colour = false) {
  const row = element("div");
  if (colour) row.append(element("i", { className: `s${STAGES.indexOf(name)}` }));
  const value = element("dd");
  value.append(element("span", { id: `figure-${name}`, textContent: "–" }), unit ? ` ${unit}` : "");
  const title = { up: "sent", down: "received", underruns: "gaps", codec: "computed" }[name] ?? name;
  const note = element("dd", { className: "small", textContent: words.EXPLAINED[name] });
  row.append(element("dt", { textContent: title }), value, note);
  return row;
}

function showSliders() {
  $("pitch-value").textContent = `${kept.shift > 0 ? "+" : ""}${kept.shift}`;
  $("gain-value").textContent = `${kept.gain > 0 ? "+" : ""}${kept.gain} dB`;
}

function element(name, properties = {}) {
  const made = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property === "role" || property.startsWith("aria-")) made.setAttribute(property, value);
    else made[property] = value;
  }
  return made;
}

function say(text) {
  tell("status", text);
}

function tell(id, text) {
  if (text) $(id).textContent = text;
}

function alert(text) {
  $("alert").hidden = !text;
  $("alert").textContent = text ?? "";
}

function pressed(id) {
  return $(id).getAttribute("aria-pressed") === "true";
}

function press(id, is) {
  $(id).setAttribute("aria-pressed", is);
}

// -------------------------------------------------------------------------------------- pressing

function listenToButtons() {
  $("talk").onclick = toggle;
  $("resume").onclick = () => (page.talk ?? page.listen)?.resume();
  for (const id of ["mute", "bypass", "hear"]) {
    $(id).onclick = () => {
      press(id, !pressed(id));
      page.talk?.choose({ [id]: pressed(id) });
    };
  }
  for (const [id, name] of [["pitch", "shift"], ["gain", "gain"]]) {
    $(id).oninput = () => {
      keep({ [name]: Number($(id).value) });
      showSliders();
      if (chosen) page.talk?.choose(wanted());
    };
  }
  $("help").onclick = () => {
    press("help", !pressed("help"));
    document.body.classList.toggle("explains", pressed("help"));
  };
  $("play-said").onclick = () => playLast("said");
  $("play-sent").onclick = () => playLast("sent");
  $("save").onclick = saveLast;
  $("record").onclick = recordVoice;
  $("broadcast").onclick = toggleBroadcast;
  $("copy").onclick = () => navigator.clipboard.writeText($("link").value).then(() => tell("room-status", "Copied."));
  $("share-token").onchange = showLink;
  for (const id of ["device", "echo", "noise"]) $(id).onchange = changeDevices;
  if (navigator.mediaDevices) navigator.mediaDevices.ondevicechange = () => page.talk && showDevices();
  $("token-form").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, $("token").value);
    page.token = $("token").value;
    meetServer();
  };
  addEventListener("hashchange", () => location.reload());
}

/** The last seconds that both were said and sent. */
export function lastSeconds() {
  if (!last) return null;
  const to = last.sent.end;
  const from = Math.min(to, Math.max(last.said.start, last.sent.start));
  return { said: last.said.get(from, to), sent: last.sent.get(from, to) };
}

async function playLast(which) {
  const button = $(`play-${which}`);
  if (playing) return stopPlaying();
  const sound = lastSeconds()?.[which];
  if (!sound?.length) return say("Nothing was said yet: press Talk.");
  await play(sound, button, `Play as ${which}`);
}

function saveLast() {
  const sound = lastSeconds();
  if (!sound?.said.length) return say("Nothing was said yet: press Talk.");
  for (const which of ["said", "sent"]) {
    const link = element("a", { href: URL.createObjectURL(wav(sound[which])), download: `${which}.wav` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

begin();
