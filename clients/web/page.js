// What the page does now, and what it remembers of the last time.

import { whatIsMissing } from "./devices.js";
import { recall, store } from "./storage.js";
import * as words from "./words.js";

const SETTINGS = "facodec.settings";

/** What goes on. `last`: the Talk whose sound can be compared; `recording`: an AbortController
 * while a voice is recorded. */
export const page = {
  talk: null, last: null, listen: null, recording: null, token: null, room: null, server: null,
};
export const kept = { voice: null, echo: true, noise: false, shift: 0, gain: 0, ...stored() };

function stored() {
  try {
    return JSON.parse(recall(SETTINGS) ?? "{}");
  } catch {
    return {};
  }
}

/** Changes what is kept. */
export function keep(change) {
  Object.assign(kept, change);
  store(SETTINGS, JSON.stringify(kept));
}

/** Why nobody can talk, or listen, here; null where they can. */
export function lacking() {
  return page.room === null && whatIsMissing() ? words.missing(whatIsMissing()) : null;
}
