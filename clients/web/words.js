// What the page says, in one place.

const ENDS = {
  unreachable: "The server does not answer",
  lost: "The connection broke",
  shutdown: "The server is shutting down or starting anew",
  overloaded: "The server is full",
  "too-slow": "Your network is too slow for the sound",
  "too-many-sessions": "Your address has all the sessions it may have",
  "too-many-rooms": "The server has no more rooms",
  "room-full": "The room is full",
  "room-taken": "Somebody else is broadcasting in this room: choose another name",
  replaced: "The broadcast was taken over in another window",
  "publisher-left": "The broadcast has ended",
  "unknown-room": "Nobody is broadcasting here",
  unauthorized: "The server asks for an access token, and this one does not fit",
  forbidden: "Your access token does not include this",
  "too-many-attempts": "Too many wrong tokens came from your address",
  "model-mismatch": "This voice was recorded for another model: record it again",
  "voice-taken": "The server has a voice of this name already: choose another name",
  "unknown-voice": "The server does not know this voice any more: reload the page",
  "bad-field": "This name cannot be used",
  "bad-audio": "No speech was heard in it",
};
const MICROPHONE = {
  NotAllowedError:
    "The browser does not let this page use the microphone. Allow it with the icon beside the address, then press Talk again.",
  SecurityError: "The browser's settings keep pages from using a microphone.",
  NotFoundError: "No microphone was found. Plug one in, then press Talk again.",
  NotReadableError: "The microphone is there but gives no sound: perhaps another program uses it.",
  OverconstrainedError: "This microphone cannot be used: choose another one below.",
};
const MISSING = {
  insecure:
    "Browsers give a microphone only to pages that come over https, or from this machine itself (http://localhost).",
  "no-microphone-support": "This browser gives pages no microphone.",
  unsupported: "This browser cannot process live sound (no AudioWorklet). A newer one can.",
};
export const EXPLAINED = {
  capture: "Your sound card collects sound before it hands it over.",
  "look-ahead": "A moment is waited to hear how a sound goes on.",
  encode: "Sound is turned into codes: small numbers for what is said, and how.",
  network: "The way to the server and back.",
  queue: "Waiting for others on the same server.",
  decode: "Codes are turned into sound, in the new voice.",
  playout: "A small reserve against gaps, and your sound card again.",
  delay: "From your mouth to your ear, in thousandths of a second. Below 150 a conversation feels natural.",
  up: "What is sent, in thousands of bits a second.",
  down: "What is received.",
  underruns: "Times that the sound came too late and a gap was covered up.",
  codec:
    "Who turns one voice into the other. In this browser, what you say stays here until you broadcast, and then goes out as codes, a thirtieth of the sound.",
};

/** What there is to say of a voice that the server tells nothing of. */
export function about(name) {
  return name === "anonymous" ? "nobody, somebody else each time" : "";
}

/** Who computes. */
export const CODEC = { browser: "in this browser", server: "by the server" };

/** A sentence for whatever went wrong. */
export function sentence(error) {
  if (error?.code && ENDS[error.code]) return `${ENDS[error.code]}.`;
  if (MICROPHONE[error?.name]) return MICROPHONE[error.name];
  return `Something went wrong: ${error?.message || error}.`;
}

/** Where the microphone hears the loudspeaker, though its echo `isRemoved`. */
export function feedback(isRemoved) {
  const others = isRemoved ? "" : ", or let the echo be removed under Microphone and loudspeaker";
  return `Your microphone hears your loudspeaker: put on headphones${others}.`;
}

/** Where the microphone was lost in mid-talk, and another could not be had. */
export function lost(error) {
  if (error?.name !== "NotFoundError") return sentence(error);
  return "The microphone went away, and there is no other: plug one in.";
}

export function missing(what) {
  return MISSING[what];
}

export function retry(error, seconds) {
  const wait = seconds < 1 ? "a moment" : `${Math.round(seconds)} s`;
  return `${sentence(error)} Trying again in ${wait}.`;
}
