// The page's beginning: the link it was opened by, its cards, and meeting the server. What is heard
// and sent is in talk.js and listen.js; each card has a module by the name of its element.

import { loadCodec } from "./codec-thread.js";
import { lastSeconds, prepareCompare } from "./compare-card.js";
import { askServer } from "./connect.js";
import { $, alert, press, pressed, say } from "./elements.js";
import { prepareFigures } from "./figures-card.js";
import { prepareOwn } from "./own-card.js";
import { lacking, page } from "./page.js";
import { prepareRoom } from "./room-card.js";
import { prepareSettings } from "./settings-card.js";
import { prepareStage } from "./stage-card.js";
import { forget, recall, store } from "./storage.js";
import { prepareVoices, showVoices } from "./voices-card.js";
import * as words from "./words.js";

export { lastSeconds, page }; // tests look here

const TOKEN = "facodec.token";

function begin() {
  readLink();
  prepareStage();
  prepareVoices();
  prepareFigures();
  prepareCompare();
  prepareOwn();
  prepareRoom();
  prepareSettings();
  prepareHelp();
  prepareToken();
  addEventListener("hashchange", () => location.reload());
  alert(lacking());
  meetServer();
}

/** Token and room come in the fragment, which browsers send to nobody; the token is taken out of
 * sight and kept as long as this tab. */
function readLink() {
  const link = new URLSearchParams(location.hash.slice(1));
  if (link.has("token")) {
    store(TOKEN, link.get("token"), "sessionStorage");
    link.delete("token");
    history.replaceState(null, "", location.pathname + location.search + (`${link}` && `#${link}`));
  }
  page.token = recall(TOKEN, "sessionStorage") ?? undefined;
  page.room = link.get("room");
  $("talk").disabled = page.room === null; // until the voices are known
  document.body.classList.toggle("listens", page.room !== null);
  if (page.room !== null) {
    document.title = $("title").textContent = `Listen to ${page.room}`;
    $("talk-word").textContent = "Listen";
    say(`Press Listen to hear ${page.room}.`);
  }
}

function prepareHelp() {
  $("help").onclick = () => {
    press("help", !pressed("help"));
    document.body.classList.toggle("explains", pressed("help"));
  };
}

function prepareToken() {
  $("token-form").onsubmit = (event) => {
    event.preventDefault();
    store(TOKEN, $("token").value, "sessionStorage");
    page.token = $("token").value;
    meetServer();
  };
}

async function meetServer() {
  try {
    page.server = await askServer(page.token);
  } catch (error) {
    alert(words.sentence(error));
    setTimeout(meetServer, 3000);
    return;
  }
  if (page.server.wrong) forget(TOKEN, "sessionStorage"); // each try counts
  alert(page.server.wrong ? words.sentence({ code: "unauthorized" }) : lacking());
  $("token-form").hidden = !page.server.needsToken;
  $("share-token-row").hidden = !page.token;
  if (page.server.needsToken) return;
  $("keep-note").hidden = !page.server.keeps_voices;
  loadCodec(page.server.page_model, page.token);
  showVoices();
}

begin();
