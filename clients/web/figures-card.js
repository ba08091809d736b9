// The card Delay: where the milliseconds go, and what goes over the wire; and the level.

import { $, drawLevel, element } from "./elements.js";
import { Rate, STAGES } from "./ledger.js";
import { page } from "./page.js";
import { now } from "./session.js";
import { CODEC, EXPLAINED } from "./words.js";

const DRAW_EVERY = 100; // ms
const rates = { up: new Rate(), down: new Rate() };

export function prepareFigures() {
  for (const stage of STAGES) $("bar").append(segment(stage));
  $("ledger").append(...STAGES.map((stage) => figure(stage, "ms", true)));
  $("wire").append(figure("up", "kbit/s"), figure("down", "kbit/s"), figure("underruns", ""));
  $("wire").append(figure("codec", ""));
  $("delay-note").textContent = EXPLAINED.delay;
  setInterval(draw, DRAW_EVERY);
}

function segment(stage) {
  return element("span", { className: `s${STAGES.indexOf(stage)}`, title: stage });
}

function figure(name, unit, colour = false) {
  const row = element("div");
  if (colour) row.append(element("i", { className: `s${STAGES.indexOf(name)}` }));
  const value = element("dd");
  value.append(element("span", { id: `figure-${name}`, textContent: "–" }), unit ? ` ${unit}` : "");
  const title = { up: "sent", down: "received", underruns: "gaps", codec: "computed" }[name] ?? name;
  const note = element("dd", { className: "small", textContent: EXPLAINED[name] });
  row.append(element("dt", { textContent: title }), value, note);
  return row;
}

function draw() {
  const going = page.talk ?? page.listen;
  if (page.recording && !going) return;
  drawLevel(going?.peak ?? 0);
  if (!going) return;
  going.peak = 0;
  const medians = page.talk?.ledger.medians() ?? {};
  const values = STAGES.map((stage) => medians[stage] ?? 0);
  const sum = values.reduce((a, b) => a + b, 0);
  STAGES.forEach((stage, i) => {
    $("bar").children[i].style.flexGrow = values[i];
    $(`figure-${stage}`).textContent = stage in medians ? values[i].toFixed(1) : "–";
  });
  $("sum").textContent = sum ? `${sum.toFixed(0)} ms` : "–";
  for (const way of ["up", "down"]) {
    $(`figure-${way}`).textContent = rates[way].at(now(), going.wire[way]).toFixed(0);
  }
  $("figure-underruns").textContent = going.underruns;
  $("figure-codec").textContent = CODEC[going.computes] ?? "–";
}
