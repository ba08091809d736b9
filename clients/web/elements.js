// Elements of the document: finding, making and filling them.

const FLOOR = -60; // dB

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** A new element; roles and aria- names are attributes, all else are properties. */
export function element(name, properties = {}) {
  const made = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property === "role" || property.startsWith("aria-")) made.setAttribute(property, value);
    else made[property] = value;
  }
  return made;
}

/** Shows a text in an element; without a text what stands there stays. */
export function tell(id, text) {
  if (text) $(id).textContent = text;
}

/** Shows a text below the button Talk. */
export function say(text) {
  tell("status", text);
}

/** Shows a text above all cards; null takes it away. */
export function alert(text) {
  $("alert").hidden = !text;
  $("alert").textContent = text ?? "";
}

/** Whether a button is pressed. */
export function pressed(id) {
  return $(id).getAttribute("aria-pressed") === "true";
}

/** Calls when a button is pressed; a double click is one press. */
export function onPress(id, call) {
  $(id).onclick = ({ detail }) => {
    if (detail < 2) call();
  };
}

export function press(id, is) {
  $(id).setAttribute("aria-pressed", is);
}

/** Shows a peak, 0 to 1, on the meter. */
export function drawLevel(peak) {
  const level = Math.max(FLOOR, 20 * Math.log10(peak + 1e-6));
  $("level").firstElementChild.style.width = `${100 * (1 - level / FLOOR)}%`;
  $("level").setAttribute("aria-valuenow", level.toFixed(0));
}
