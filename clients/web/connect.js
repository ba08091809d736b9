// Where the server is, what it says of itself, and coming back to it after a lost connection.

import { SessionError } from "./session.js";

const FIRST = 0.5; // seconds
const LONGEST = 8;
/** Ends of a session that a later attempt may not meet. */
const PASSING = new Set([
  "unreachable", "lost", "shutdown", "overloaded", "too-slow", "idle-timeout", "hello-timeout",
  "too-many-sessions", "too-many-rooms", "internal", "unknown-room", "room-full", "publisher-left",
]);

/** The WebSocket beside this page. */
export function serverUrl() {
  const url = new URL(".", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = url.search = "";
  return url.href;
}

/** What the server tells of itself: {voices, identities, ...}; {needsToken} where it wants one.
 * Raises SessionError. */
export async function askServer(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(new URL("healthz", location.href.split(/[?#]/)[0]), { headers, cache: "no-store" });
  } catch {
    throw new SessionError("unreachable", "the server does not answer");
  }
  if (answer.status === 401) return { needsToken: true, wrong: true };
  if (answer.status === 429) throw new SessionError("too-many-attempts", (await answer.text()).trim());
  if (answer.status === 503) throw new SessionError("shutdown", "the server is shutting down");
  if (!answer.ok) throw new SessionError("refused", (await answer.text()).trim());
  const told = await answer.json();
  return told.voices ? told : { needsToken: true };
}

/** Runs `once(signal)` again and again until it returns, fails for good, or the signal comes.
 * `once` calls its second argument when it has worked; `tell(error, seconds)` before each wait. */
export async function keepConnected(signal, once, tell) {
  let failures = 0;
  while (!signal.aborted) {
    try {
      return await once(signal, () => (failures = 0));
    } catch (error) {
      if (signal.aborted) return null;
      if (!PASSING.has(error.code)) throw error;
      const delay = Math.min(LONGEST, FIRST * 2 ** failures++);
      tell(error, delay);
      await pause(delay, signal);
    }
  }
  return null;
}

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
