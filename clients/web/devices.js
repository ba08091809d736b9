// The microphone and the loudspeaker as 16 kHz sound, whatever rate the machine has.

import { PlayoutBuffer } from "./playout.js";
import { Resampler } from "./resample.js";
import { HOP, RATE, now } from "./session.js";

const BLOCK = 512; // samples, where there are no worklets
const FADE = 0.01; // seconds in which what is played ends
const LONGEST_FADE = 0.3; // seconds, with the way to the loudspeaker
const HEARTBEAT = 5; // seconds of blocks in which the clock of the device is looked for

/** A context at 16 kHz, or at the device's rate where the browser cannot. Needs a click first. */
export async function openContext() {
  let context;
  try {
    context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
  } catch {
    context = new AudioContext({ latencyHint: "interactive" });
  }
  // Some browsers want this before anything is waited for. It may stay pending for long.
  context.resume().catch(() => {});
  await addWorklets(context);
  return context;
}

async function addWorklets(context) {
  if (!context.audioWorklet) return; // a page from elsewhere over http: it may still listen
  for (const name of ["microphone", "speaker"]) {
    await context.audioWorklet.addModule(new URL(`${name}-worklet.js`, import.meta.url));
  }
}

/** Why there can be no sound here, or null. */
export function whatIsMissing() {
  if (!globalThis.isSecureContext) return "insecure";
  if (!navigator.mediaDevices?.getUserMedia) return "no-microphone-support";
  return globalThis.AudioWorkletNode ? null : "unsupported";
}

/** The stream of a microphone: the wished one or, where that has gone, the usual one. */
async function openStream({ device, echo, noise }) {
  const ask = (deviceId) => navigator.mediaDevices.getUserMedia({
    audio: {
      deviceId,
      echoCancellation: echo,
      noiseSuppression: noise,
      autoGainControl: false,
      channelCount: { ideal: 1 },
    },
  });
  try {
    // A mere wish for a device is not heeded by all browsers.
    return await ask(device ? { exact: device } : undefined);
  } catch (error) {
    if (!device || error.name !== "OverconstrainedError") throw error;
    return ask(undefined);
  }
}

/** Blocks of one hop, each with the time its last sample was heard. `on`: calls for
 * `block(samples, heard)`, `lost()`, and `paused(is)` where the browser takes it away for a while. */
export class Microphone {
  #stream; #node; #source; #resampler; #on;
  #context; #own = null;
  #left = new Float32Array(0);
  #offsets = [];

  static async open(context, wanted, on) {
    const stream = await openStream(wanted);
    const microphone = new Microphone();
    try {
      await microphone.#start(stream, context, on);
    } catch (error) {
      microphone.close();
      throw error;
    }
    return microphone;
  }

  async #start(stream, context, on) {
    this.#stream = stream;
    this.#on = on;
    this.#context = context;
    try {
      this.#source = context.createMediaStreamSource(stream);
    } catch {
      // Some browsers connect a microphone to a context of its own rate only.
      this.#own = this.#context = new AudioContext({ latencyHint: "interactive" });
      await addWorklets(this.#context);
      this.#source = this.#context.createMediaStreamSource(stream);
    }
    const rate = this.#context.sampleRate;
    this.#resampler = new Resampler(rate, RATE);
    this.#node = new AudioWorkletNode(this.#context, "microphone", {
      processorOptions: { block: Math.round((HOP * rate) / RATE) },
    });
    this.#node.port.onmessage = ({ data }) => this.#take(data.samples, data.heard);
    // What leads nowhere may not be run; what comes out is silence.
    this.#source.connect(this.#node).connect(this.#context.destination);
    const [track] = stream.getAudioTracks();
    track.onended = () => on.lost();
    track.onmute = () => on.paused?.(true);
    track.onunmute = () => on.paused?.(false);
  }

  get name() {
    return this.#stream.getAudioTracks()[0].label;
  }

  close() {
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
    this.#source?.disconnect();
    this.#node?.disconnect();
    if (this.#node) this.#node.port.onmessage = null;
    this.#own?.close();
  }

  #take(samples, heard) {
    let end = heard + this.#offset(heard) - this.#delay;
    const fresh = this.#resampler.push(samples);
    const all = new Float32Array(this.#left.length + fresh.length);
    all.set(this.#left);
    all.set(fresh, this.#left.length);
    let start = 0;
    for (; start + HOP <= all.length; start += HOP) {
      this.#on.block(all.subarray(start, start + HOP), end - (all.length - start - HOP) / RATE);
    }
    this.#left = all.slice(start);
  }

  get #delay() {
    const { latency } = this.#stream.getAudioTracks()[0].getSettings();
    return this.#resampler.delay + (latency > 0 && latency < 1 ? latency : 0);
  }

  /** What the page's clock is ahead of the device's: the least of late, as messages only wait. */
  #offset(heard) {
    this.#offsets.push([heard, now() - heard]);
    while (this.#offsets[0][0] < heard - HEARTBEAT) this.#offsets.shift();
    return Math.min(...this.#offsets.map(([, offset]) => offset));
  }
}

/** Plays 16 kHz sound. `wait`: seconds until the newest packet is heard. */
export class Speaker {
  counters = { underruns: 0, overruns: 0 };
  #wait = 0;
  #node; #context; #resampler; #push; #end; #gain;

  constructor(context) {
    this.#context = context;
    this.#gain = new GainNode(context);
    this.#resampler = new Resampler(RATE, context.sampleRate);
    if (context.audioWorklet) this.#useWorklet();
    else this.#useProcessor();
    this.#node.connect(this.#gain).connect(context.destination);
  }

  #useWorklet() {
    this.#node = new AudioWorkletNode(this.#context, "speaker", { numberOfInputs: 0 });
    const { port } = this.#node;
    port.onmessage = ({ data }) => {
      this.#wait = data.wait;
      this.counters = data.counters;
    };
    this.#push = (samples) => port.postMessage(samples);
    this.#end = () => port.postMessage("end");
  }

  #useProcessor() {
    const buffer = new PlayoutBuffer({ rate: this.#context.sampleRate });
    this.counters = buffer.counters;
    this.#node = this.#context.createScriptProcessor(BLOCK, 0, 1);
    this.#node.onaudioprocess = ({ outputBuffer }) => buffer.pullInto(outputBuffer.getChannelData(0));
    this.#push = (samples) => (this.#wait = buffer.push(samples, this.#context.currentTime));
    this.#end = () => buffer.end();
  }

  get wait() {
    return this.#wait + this.#resampler.delay + this.#latency;
  }

  /** Seconds from here to the loudspeaker. */
  get #latency() {
    const { outputLatency, baseLatency } = this.#context;
    return outputLatency || baseLatency || 0;
  }

  play(samples) {
    this.#push(this.#resampler.push(samples));
  }

  /** What is there is still played; emptiness is no fault from here on. */
  end() {
    this.#end();
  }

  /** Fades out what is played. */
  async close() {
    this.end();
    const { gain } = this.#gain;
    const { currentTime } = this.#context;
    gain.setValueAtTime(1, currentTime);
    gain.linearRampToValueAtTime(0, currentTime + FADE);
    const seconds = Math.min(LONGEST_FADE, 2 * FADE + this.#latency);
    await new Promise((next) => setTimeout(next, 1000 * seconds));
    this.#node.disconnect();
    this.#gain.disconnect();
  }
}
