// The first card: the button that starts and stops talking or listening, and how that goes.

import { $, alert, onPress, press, pressed, say } from "./elements.js";
import { Listen } from "./listen.js";
import { lacking, page } from "./page.js";
import { showRoom } from "./room-card.js";
import { devices, showDevices } from "./settings-card.js";
import { Talk } from "./talk.js";
import { wanted } from "./voices-card.js";
import * as words from "./words.js";

export function prepareStage() {
  onPress("talk", toggle);
  $("resume").onclick = () => (page.talk ?? page.listen)?.resume();
  for (const id of ["mute", "bypass", "hear"]) {
    $(id).onclick = () => {
      press(id, !pressed(id));
      page.talk?.choose({ [id]: pressed(id) });
    };
  }
}

async function toggle() {
  if (page.talk || page.listen) {
    end();
    return;
  }
  alert(lacking());
  if (lacking()) return;
  // What one that was stopped still tells is nobody's business: perhaps there is another by now.
  const show = (call) => (...told) => isOn() && call(...told);
  const isOn = () => going === (page.talk ?? page.listen);
  const on = {
    state: show(showState), context: show(showContext), room: show(showRoom), feedback: show(showFeedback),
  };
  const going = page.room ? new Listen(on, page.room, page.token) : new Talk(on, wanted(), devices(), page.token);
  page[page.room ? "listen" : "talk"] = going;
  page.last = page.talk ?? page.last;
  let failure = null;
  try {
    await going.run();
  } catch (error) {
    failure = error;
  }
  if (!isOn()) return;
  end();
  if (failure) alert(words.sentence(failure));
  if (failure?.code === "unauthorized") $("token-form").hidden = false;
}

function end() {
  const going = page.talk ?? page.listen;
  page.talk = page.listen = null;
  going.stop();
  if (pressed("broadcast")) showRoom("stopped");
  showState("stopped");
}

let shown = []; // what showState was called with last

function showState(name, error, seconds) {
  shown = [name, error, seconds];
  const going = name !== "stopped";
  $("talk").classList.toggle("live", going);
  $("talk-word").textContent = going ? "Stop" : page.room ? "Listen" : "Talk";
  document.body.dataset.state = name;
  if (name === "talking") showDevices();
  if (!going) $("resume").hidden = true;
  if (!going) showFeedback(false);
  say({
    starting: page.room ? "Starting …" : "The browser may ask whether this page may use the microphone.",
    connecting: "Connecting …",
    talking: "It works: say something.",
    waiting: `Waiting for somebody to broadcast in ${page.room} …`,
    listening: `You hear ${page.room}, live.`,
    stopped: page.last?.sent.end ? "Stopped. Before and after can be heard below." : "Stopped.",
    "microphone-changed": "The microphone went away: taking the usual one.",
    "microphone-lost": error && words.lost(error),
    "microphone-paused": "The browser has taken the microphone away for now: come back to this page.",
    "coming-back": error && `${words.sentence(error)} Coming back to where you were …`,
    "broadcaster-away": `The connection of who broadcasts in ${page.room} was lost. Waiting for it …`,
    reconnecting: error && words.retry(error, seconds),
  }[name]);
}

function showFeedback(isHeard) {
  $("feedback").hidden = !isHeard;
  $("feedback").textContent = isHeard ? words.feedback($("echo").checked) : "";
}

function showContext(state) {
  const halted = state === "suspended" || state === "interrupted";
  const wasHalted = !$("resume").hidden;
  $("resume").hidden = !halted;
  if (halted) say("The browser has halted the sound.");
  else if (wasHalted) showState(...shown);
}
