"use strict";

// Sounds that play together from one clock. Switching only moves the gains, so it neither loses the place nor leaves a gap.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const AHEAD = 0.03; // seconds from the call that starts all sounds until they begin
  const FADE = 0.01; // seconds in which one sound gives way to another
  const state = { playing: false, moment: 0, began: 0, heard: 0, blind: data.blind, shown: false, rounds: 0 };
  const votes = data.sides.map(() => 0);
  let order = data.sides.map((_, index) => index); // which side each place of the list is
  let buffers = [];
  let context = null;
  let voices = []; // of each side, while it plays: {source, gain}

  const loudness = (side) => (byId("match").checked ? data.sides[side].gain : 1);
  const letter = (place) => String.fromCharCode(65 + place);
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
  const say = (text) => { byId("says").textContent = text; };

  function moment() {
    const now = state.playing ? context.currentTime - state.began : state.moment;
    return Math.min(Math.max(now, 0), data.seconds);
  }

  function start() {
    context = context || new AudioContext({ sampleRate: data.rate });
    context.resume();
    const at = context.currentTime + AHEAD;
    voices = buffers.map((buffer, side) => {
      const source = new AudioBufferSourceNode(context, { buffer });
      const gain = new GainNode(context, { gain: side === order[state.heard] ? loudness(side) : 0 });
      source.connect(gain).connect(context.destination);
      if (state.moment < buffer.duration) source.start(at, state.moment);
      return { source, gain };
    });
    state.began = at - state.moment;
    state.playing = true;
    show();
    requestAnimationFrame(tick);
  }

  function stop() {
    state.moment = moment();
    state.playing = false;
    for (const { source, gain } of voices) {
      source.disconnect();
      gain.disconnect();
    }
    voices = [];
    show();
  }

  function seek(time) {
    const playing = state.playing;
    if (playing) stop();
    state.moment = Math.min(Math.max(time, 0), data.seconds);
    if (playing) start();
    else show();
  }

  function tick() {
    if (!state.playing) return;
    if (moment() >= data.seconds) {
      stop();
      state.moment = 0;
    }
    showMoment();
    requestAnimationFrame(tick);
  }

  // Let the gains follow what is to be heard.
  function mix() {
    voices.forEach(({ gain }, side) => {
      const now = context.currentTime;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(side === order[state.heard] ? loudness(side) : 0, now + FADE);
    });
  }

  function hear(place) {
    state.heard = place;
    mix();
    show();
  }

  function shuffle() {
    for (let last = order.length - 1; last > 0; last--) {
      const other = crypto.getRandomValues(new Uint32Array(1))[0] % (last + 1);
      [order[last], order[other]] = [order[other], order[last]];
    }
  }

  function prefer(place) {
    votes[order[place]] += 1;
    state.rounds += 1;
    shuffle();
    hear(0);
    say(`Choice ${state.rounds} is counted. The order is new; choose again as often as you like.`);
  }

  function hide(blind) {
    state.blind = blind;
    state.shown = false;
    state.rounds = 0;
    votes.fill(0);
    order = data.sides.map((_, index) => index);
    if (blind) shuffle();
    hear(0);
    say(blind ? "The order is random. Listen, and press “I prefer this”." : "");
  }

  function showMoment() {
    byId("time").textContent = clock(moment());
    byId("seek").value = moment();
    byId("seek").style.setProperty("--done", `${(100 * moment()) / data.seconds}%`);
  }

  function button(text, className, pressed) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = className;
    made.textContent = text;
    made.addEventListener("click", pressed);
    return made;
  }

  function row(place) {
    const element = document.createElement("li");
    const listen = button("", "listen", () => hear(place));
    const mark = document.createElement("b");
    const name = document.createElement("span");
    mark.textContent = letter(place);
    listen.append(mark, name);
    element.append(listen, button("I prefer this", "plain", () => prefer(place)));
    byId("sides").append(element);
  }

  function show() {
    const names = !state.blind || state.shown;
    [...byId("sides").children].forEach((element, place) => {
      const [listen, choose] = element.children;
      const chosen = place === state.heard;
      element.className = chosen ? "side chosen" : "side";
      listen.setAttribute("aria-pressed", chosen);
      listen.lastChild.textContent = names ? data.sides[order[place]].name : "";
      listen.setAttribute("aria-label", names ? `${letter(place)}: ${data.sides[order[place]].name}` : letter(place));
      choose.hidden = names;
    });
    byId("tally").hidden = !state.blind;
    byId("reveal").hidden = names;
    byId("votes").replaceChildren(...(names && state.blind ? data.sides.map(({ name }, side) => {
      const line = document.createElement("tr");
      const [head, cell] = ["th", "td"].map((kind) => line.appendChild(document.createElement(kind)));
      head.scope = "row";
      head.textContent = name;
      cell.textContent = `${votes[side]} of ${state.rounds}`;
      return line;
    }) : []));
    byId("play").classList.toggle("playing", state.playing);
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    showMoment();
  }

  function ready() {
    byId("play").disabled = false;
    say(state.blind ? "The order is random. Listen, and press “I prefer this”." : "");
  }

  byId("duration").textContent = clock(data.seconds);
  byId("seek").max = data.seconds;
  byId("blind").checked = data.blind;
  data.sides.forEach((_, place) => row(place));
  if (state.blind) shuffle();
  show();
  byId("play").addEventListener("click", () => (state.playing ? stop() : start()));
  byId("seek").addEventListener("input", ({ target }) => seek(Number(target.value)));
  byId("match").addEventListener("change", mix);
  byId("blind").addEventListener("change", ({ target }) => hide(target.checked));
  byId("reveal").addEventListener("click", () => {
    state.shown = true;
    show();
  });
  document.addEventListener("keydown", (event) => {
    const number = Number(event.key) - 1;
    if (event.ctrlKey || event.metaKey || event.altKey || byId("play").disabled) return;
    if (data.sides[number]) hear(number);
    else if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.type !== "checkbox") byId("play").click();
    else if (event.key === "ArrowLeft" && event.target.type !== "range") seek(moment() - 2);
    else if (event.key === "ArrowRight" && event.target.type !== "range") seek(moment() + 2);
    else return;
    event.preventDefault();
  });

  const decoder = new OfflineAudioContext(1, 1, data.rate);
  const decoded = data.sides.map(({ audio }) => decoder.decodeAudioData(Uint8Array.from(atob(audio), (one) => one.charCodeAt(0)).buffer));
  Promise.all(decoded).then((all) => {
    buffers = all;
    ready();
  }, () => say("This browser cannot decode these sounds; open the page in a current Chrome, Edge, Firefox or Safari."));
})();
