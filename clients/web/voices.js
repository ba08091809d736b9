// Voices: trying one, recording one's own, keeping it in this browser.

import { codecOfPage } from "./codec-thread.js";
import { serverUrl } from "./connect.js";
import { Microphone, openContext } from "./devices.js";
import { median } from "./ledger.js";
import { convertHere } from "./local-session.js";
import { RATE, Session } from "./session.js";
import { recall, store } from "./storage.js";

export const SECONDS = 10;
const KEPT = "facodec.voices";
const BLOCK = 320; // samples, 20 ms
const CLIPPED = 0.99;
const ALONE = 0.86; // docs/protocol.md, Voices

/** The sample sentence, or `samples`, in a voice: (n,) samples. */
export async function tryVoice({ voice, identity, shift }, token, samples = null) {
  const sound = samples ?? (await sampleSentence());
  const codec = codecOfPage();
  if (codec) return convertHere(codec, sound, { voice, identity, shift }, token);
  const heard = [];
  const hello = { role: "convert", input: "pcm", output: "pcm", frames_per_packet: 8, voice, identity, token };
  const session = new Session(serverUrl(), hello, { sound: (part) => heard.push(part) });
  if (shift) session.sendVoice(voice, identity, shift);
  session.sendSound(sound);
  session.end();
  await session.ended;
  return join(heard);
}

let sentence = null;

async function sampleSentence() {
  sentence ??= (async () => {
    const answer = await fetch(new URL("sample.flac", import.meta.url));
    const context = new OfflineAudioContext(1, RATE, RATE);
    return (await context.decodeAudioData(await answer.arrayBuffer())).getChannelData(0);
  })();
  return sentence;
}

/** Samples of ten seconds from the microphone; `tell(share, peak)` while it goes on. */
export async function record(devices, signal, tell) {
  const context = await openContext();
  let microphone = null;
  try {
    return await new Promise((resolve, reject) => {
      const parts = [];
      let count = 0;
      const take = (samples) => {
        parts.push(Float32Array.from(samples));
        count += samples.length;
        tell(count / (SECONDS * RATE), Math.max(...samples.map(Math.abs)));
        if (count >= SECONDS * RATE) resolve(join(parts));
      };
      signal.addEventListener("abort", () => resolve(null), { once: true });
      const lost = () => reject(new DOMException("", "NotFoundError"));
      Microphone.open(context, devices, { block: take, lost })
        .then((opened) => (microphone = opened), reject);
    });
  } finally {
    microphone?.close();
    await context.close();
  }
}

/** How good a recording is: {speech} in seconds, {noise} in dB beneath the speech, {clipped}. */
export function quality(samples) {
  const powers = [];
  for (let start = 0; start + BLOCK <= samples.length; start += BLOCK) {
    let sum = 0;
    for (const sample of samples.subarray(start, start + BLOCK)) sum += sample * sample;
    powers.push(10 * Math.log10(sum / BLOCK + 1e-12));
  }
  const sorted = [...powers].sort((a, b) => a - b);
  const [quiet, loud] = [0.1, 0.9].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
  const speech = (powers.filter((power) => power > Math.max(loud - 25, -60)).length * BLOCK) / RATE;
  const clipped = samples.filter((sample) => Math.abs(sample) >= CLIPPED).length;
  return { speech, noise: loud - quiet, clipped, loud, middle: median(powers) };
}

/** What is to be said of it, worst first; empty where it is good. */
export function faults({ speech, noise, clipped, loud }, alike) {
  const found = [];
  if (loud < -55) found.push("Hardly anything was heard: is it the right microphone?");
  if (speech < 3) found.push("There was too little speech in it: read the whole text.");
  if (noise < 20) found.push("There is a lot of noise behind the voice: find a quieter place.");
  if (clipped > 20) found.push("It is too loud in places: move away from the microphone a little.");
  if (alike < ALONE) found.push("It sounds like more than one person.");
  return found;
}

/** The voice in a recording: {data, identity, alike}. `keep`: a name under which the server keeps it
 * too. Raises SessionError. */
export async function enroll(samples, token, keep) {
  let found = null;
  const session = new Session(serverUrl(), { role: "enroll", input: "pcm", token, keep }, {
    voice: ({ data, alike }) => (found = { data: data.slice(), alike }),
  });
  session.sendSound(samples);
  session.end();
  await session.ended;
  return { ...found, identity: session.ready.identity };
}

/** Own voices kept in this browser: [{name, data, identity}]. */
export function ownVoices() {
  try {
    const kept = JSON.parse(recall(KEPT) ?? "[]");
    return kept.map(({ name, data, identity }) => ({
      name, identity, data: Uint8Array.from(atob(data), (c) => c.charCodeAt(0)),
    }));
  } catch {
    return [];
  }
}

/** Keeps them -> whether longer than this page. */
export function keepVoices(voices) {
  const kept = voices.map(({ name, data, identity }) => ({
    name, identity, data: btoa(String.fromCharCode(...data)),
  }));
  return store(KEPT, JSON.stringify(kept));
}

function join(parts) {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
