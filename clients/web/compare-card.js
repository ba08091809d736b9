// The card Before and after: the last seconds as they were said and as they were sent.

import { $, element, say } from "./elements.js";
import { wav } from "./history.js";
import { page } from "./page.js";
import { play, stopPlaying } from "./preview.js";

export function prepareCompare() {
  for (const which of ["said", "sent"]) $(`play-${which}`).onclick = () => playLast(which);
  $("save").onclick = saveLast;
}

/** The last seconds that both were said and sent. */
export function lastSeconds() {
  if (!page.last) return null;
  const { said, sent } = page.last;
  const to = sent.end;
  const from = Math.min(to, Math.max(said.start, sent.start));
  return { said: said.get(from, to), sent: sent.get(from, to) };
}

async function playLast(which) {
  if (stopPlaying()) return;
  const sound = lastSeconds()?.[which];
  if (sound?.length) await play(sound, $(`play-${which}`), `Play as ${which}`);
  else say("Nothing was said yet: press Talk.");
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
