// The card Microphone and loudspeaker.

import { $, alert } from "./elements.js";
import { keep, kept, page } from "./page.js";
import * as words from "./words.js";

export function prepareSettings() {
  $("echo").checked = kept.echo;
  $("noise").checked = kept.noise;
  for (const id of ["device", "echo", "noise"]) $(id).onchange = changeDevices;
  if (navigator.mediaDevices) navigator.mediaDevices.ondevicechange = lookAtDevices;
}

/** The wished microphone, as Microphone.open takes it. */
export function devices() {
  return { device: $("device").value || null, echo: kept.echo, noise: kept.noise };
}

/** Lists microphones; browsers name them only while one is in use. */
export async function showDevices() {
  const found = await navigator.mediaDevices.enumerateDevices();
  const inputs = found.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId !== "default");
  const before = $("device").value;
  const options = inputs.map(({ deviceId, label }) => new Option(label || "Microphone", deviceId));
  $("device").replaceChildren(new Option("The usual one", ""), ...options);
  $("device").value = inputs.some(({ deviceId }) => deviceId === before) ? before : "";
}

function lookAtDevices() {
  if (!page.talk) return;
  showDevices();
  page.talk.lookForMicrophone();
}

async function changeDevices() {
  keep({ echo: $("echo").checked, noise: $("noise").checked });
  try {
    await page.talk?.chooseDevices(devices());
  } catch (error) {
    alert(words.sentence(error));
  }
}
