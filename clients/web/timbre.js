// Timbres of voices: as bytes, and by the names that the server knows.

import { fromHalf, toHalf } from "./half.js";
import { SessionError } from "./session.js";

const NUMBERS = 256;
const ESTIMATE = 2 * NUMBERS; // bytes of an estimate of a voice
const EXACT = 4 * NUMBERS;
const FAILURES = { 401: "unauthorized", 403: "forbidden", 404: "unknown-voice", 429: "too-many-attempts" };
const found = new Map(); // what the server said, by name

/** A timbre (256,) as the bytes of an estimate. */
export function halves(timbre) {
  const view = new DataView(new ArrayBuffer(ESTIMATE));
  timbre.forEach((number, i) => view.setUint16(2 * i, toHalf(number), true));
  return new Uint8Array(view.buffer);
}

/** The timbre (256,) in the bytes of a voice. */
export function timbreOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = bytes.length === ESTIMATE
    ? (_, i) => fromHalf(view.getUint16(2 * i, true))
    : (_, i) => view.getFloat32(4 * i, true);
  return Float32Array.from({ length: NUMBERS }, read);
}

/** Whether a name stands for a voice of nobody, which is another one each time. */
export function isNobody(voice) {
  return typeof voice === "string" && /^anonymous(\.\d{1,19})?$/.test(voice);
}

/** The voice that the server knows by a name: {timbre, identity}. Raises SessionError. */
export async function voiceNamed(name, token) {
  if (found.has(name)) return found.get(name);
  const place = new URL(`voices/${encodeURIComponent(name)}`, import.meta.url);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(place, { headers });
  } catch {
    throw new SessionError("unreachable", "the server does not answer");
  }
  if (!answer.ok) {
    throw new SessionError(FAILURES[answer.status] ?? "refused", (await answer.text()).trim());
  }
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const identity = new TextDecoder().decode(bytes.subarray(EXACT));
  const voice = { timbre: timbreOf(bytes.subarray(0, EXACT)), identity };
  if (!isNobody(name)) found.set(name, voice);
  return voice;
}
