// The card Let others listen: broadcasting to a room, and the link to it.

import { $, onPress, press, pressed, tell } from "./elements.js";
import { page } from "./page.js";
import * as words from "./words.js";

export function prepareRoom() {
  $("room").value = `room-${1000 + Math.floor(9000 * Math.random())}`;
  onPress("broadcast", toggleBroadcast);
  $("copy").onclick = copyLink;
  $("share-token").onchange = showLink;
}

async function toggleBroadcast() {
  if (pressed("broadcast")) {
    page.talk?.stopBroadcast();
    showRoom("stopped");
    return;
  }
  if (!page.talk) {
    tell("room-status", "Press Talk first, then Broadcast.");
    return;
  }
  press("broadcast", true);
  tell("room-status", "Opening the room …");
  await page.talk.broadcast($("room").value.trim());
}

/** Shows how the broadcast goes: live, reconnecting, stopped or failed. */
export function showRoom(state, error) {
  const going = state === "live" || state === "reconnecting";
  press("broadcast", going);
  $("room").disabled = going;
  $("link-row").hidden = !going;
  if (going) showLink();
  tell("room-status", {
    live: "You are live. Whoever opens this link hears you:",
    reconnecting: error && `${words.sentence(error)} Opening the room again …`,
    stopped: "The broadcast has ended.",
    failed: error && words.sentence(error),
  }[state]);
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText($("link").value);
    tell("room-status", "Copied.");
  } catch {
    $("link").select();
    tell("room-status", "The browser copies nothing by itself: the link is marked, copy it as any text.");
  }
}

function showLink() {
  const link = new URLSearchParams({ room: $("room").value.trim() });
  if (page.token && $("share-token").checked) link.set("token", page.token);
  $("link").value = `${location.origin}${location.pathname}#${link}`;
}
