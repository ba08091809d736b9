// The card Before and after: the last seconds as they were said and as they were sent.

import { $, element, say } from "./elements.js";
import { wav } from "./history.js";
import { page } from "./page.js";
import { play, stopPlaying } from "./preview.js";
import { fac } from "./recording.js";
import { HOP } from "./session.js";

export function prepareCompare() {
  for (const which of ["said", "sent"]) $(`play-${which}`).onclick = () => playLast(which);
  $("save").onclick = saveSound;
  $("save-codes").onclick = saveCodes;
}

/** The last seconds that both were said and sent. */
export function lastSeconds() {
  if (!page.last) return null;
  const { said, sent } = page.last;
  const { from, to } = lastSpan();
  return { said: said.get(from, to), sent: sent.get(from, to) };
}

function lastSpan() {
  const { said, sent } = page.last;
  const to = sent.end;
  return { from: Math.min(to, Math.max(said.start, sent.start)), to };
}

async function playLast(which) {
  if (stopPlaying()) return;
  const sound = lastSeconds()?.[which];
  if (sound?.length) await play(sound, $(`play-${which}`), `Play as ${which}`);
  else say("Nothing was said yet: press Talk.");
}

function saveSound() {
  const sound = lastSeconds();
  if (!sound?.said.length) return say("Nothing was said yet: press Talk.");
  for (const which of ["said", "sent"]) save(wav(sound[which]), `${which}.wav`);
}

function saveCodes() {
  if (!page.last?.sent.end) return say("Nothing was said yet: press Talk.");
  const { codes } = page.last;
  const [from, to] = [lastSpan().from, lastSpan().to].map((sample) => sample / HOP);
  if (!codes.said.get(from, to).length) {
    return say("There are no codes to save: the server computed, and not this browser.");
  }
  for (const which of ["said", "sent"]) {
    save(fac(codes[which].get(from, to), from, to, codes.identity), `${which}.fac`);
  }
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
