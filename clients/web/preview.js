// One sound at a time that a button plays, and stops when it is pressed again.

import { wav } from "./history.js";

let playing = null;

/** Plays samples; the button, which else says `word`, stops it. */
export async function play(samples, button, word) {
  stopPlaying();
  const sound = new Audio(URL.createObjectURL(wav(samples)));
  playing = sound;
  button.textContent = "Stop";
  sound.onended = sound.onpause = () => {
    URL.revokeObjectURL(sound.src);
    button.textContent = word;
    if (playing === sound) playing = null;
  };
  try {
    await sound.play();
  } catch (error) {
    if (error.name !== "AbortError") throw error; // stopped before it began
  }
}

/** Stops what plays -> whether anything did. */
export function stopPlaying() {
  const was = playing;
  was?.pause();
  playing = null;
  return was !== null;
}
