"use strict";

// What is seen of the player and how it is worked: transport, items with a lane for each level, lyrics, keys.
(() => {
  const STEP = 2; // seconds that an arrow key goes

  const byId = (id) => document.getElementById(id);
  const song = JSON.parse(byId("song").textContent);
  if (!song.items.length) {
    byId("silent").hidden = false;
    return;
  }
  const player = makePlayer(song, byId("voices"), paint);
  const { state } = player;
  const levels = []; // the buttons that choose a level: {level, button}
  const cards = []; // of items: {card, name}
  const lanes = []; // of all sounds: {index, sound, row, badge, cursor}
  let lines = []; // of the lyrics: {line, button}
  let shown = null; // the item whose lyrics are shown
  let frame = 0; // the animation frame that is asked for

  function clock(seconds) {
    const tenths = Math.floor(seconds * 10 + 1e-6);
    const rest = String(Math.floor(tenths / 10) % 60).padStart(2, "0");
    return `${Math.floor(tenths / 600)}:${rest}.${tenths % 10}`;
  }

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function press(act, text, attributes = {}) {
    const button = make("button", { type: "button", ...attributes }, text);
    button.addEventListener("click", act);
    return button;
  }

  function build() {
    const titles = { [BEST]: "The best level available at each moment", 0: "The finest", 2: "The coarsest" };
    const made = new Set(song.items.flatMap((one) => one.sounds.map((sound) => sound.level)));
    for (const level of [BEST, ...[...made].sort()]) {
      const button = press(() => player.wish(level), level === BEST ? "Best" : `Level ${level}`);
      button.title = titles[level] || "";
      levels.push({ level, button });
      byId("levels").append(button);
    }
    song.items.forEach((one, index) => {
      const name = press(() => player.turnTo(index), `Item ${one.item}`, { class: "name" });
      const card = make("section", { class: "item", "aria-label": `Item ${one.item}` }, make("h2", {}, name));
      for (const sound of one.sounds) card.append(lane(index, one, sound));
      cards.push({ card, name });
      byId("items").append(card);
    });
  }

  function lane(index, one, sound) {
    const name = `level ${sound.level} of item ${one.item}`;
    const here = () => index === state.index || player.turnTo(index);
    const badge = press(
      () => {
        here();
        player.wish(sound.level);
      },
      String(sound.level),
      { class: "badge", "aria-label": `Hear ${name}` },
    );
    const cursor = make("div", { class: "cursor" });
    const made = make("div", { class: "made" });
    made.style.width = `${(100 * sound.seconds) / song.seconds}%`;
    if (sound.picture) {
      const alt = `Waveform and spectrogram of ${name}`;
      made.append(make("img", { src: sound.picture, alt, draggable: "false" }));
    }
    const strip = make("div", { class: "strip" }, made, cursor);
    strip.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      const time = ((event.clientX - box.left) / box.width) * song.seconds;
      here();
      if (time < sound.seconds && sound !== player.choice(time)) state.wanted = sound.level;
      player.go(time);
    });
    const row = make("div", { class: "lane" }, badge, strip);
    lanes.push({ index, sound, row, badge, cursor });
    return row;
  }

  function showWords(one) {
    shown = one;
    lines = one.lines.map((line) => ({
      line,
      button: press(() => player.go(line.start), line.text, { title: clock(line.start), dir: "auto" }),
    }));
    byId("lines").replaceChildren(...lines.map(({ button }) => make("li", {}, button)));
    byId("lines").hidden = !lines.length;
    byId("given").open = !lines.length;
    byId("untimed").hidden = Boolean(lines.length);
    byId("words").hidden = !lines.length && !byId("lyrics").textContent.trim();
    byId("attention").hidden = !one.heat_map;
    if (one.heat_map) byId("heat-map").src = one.heat_map;
  }

  // All that changes when something is chosen, starts or stops.
  function paint() {
    const one = player.item();
    const heard = player.choice(player.moment());
    if (one !== shown) showWords(one);
    for (const { level, button } of levels) button.setAttribute("aria-pressed", level === state.wanted);
    cards.forEach(({ card, name }, index) => {
      card.classList.toggle("chosen", index === state.index);
      name.setAttribute("aria-pressed", index === state.index);
    });
    for (const { index, sound, row, badge, cursor } of lanes) {
      row.classList.toggle("heard", sound === heard);
      row.classList.toggle("broken", player.broken.has(sound));
      badge.setAttribute("aria-pressed", sound === heard);
      cursor.hidden = index !== state.index;
    }
    byId("play").classList.toggle("playing", state.playing);
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    byId("duration").textContent = clock(player.reach());
    byId("seek").max = player.reach();
    const says = sentence(one, heard);
    if (byId("says").textContent !== says) byId("says").textContent = says;
    move();
    if (state.playing && !frame) frame = requestAnimationFrame(tick);
  }

  // What is heard, and why, where it is not what was chosen.
  function sentence(one, heard) {
    const lost = one.sounds.filter((sound) => player.broken.has(sound)).map((sound) => sound.level);
    const gone = lost.length
      ? `Level ${lost.join(" and ")} of item ${one.item} cannot be played; is its file still beside this page? `
      : "";
    if (!heard) return `${gone}Nothing of item ${one.item} can be heard.`;
    const playing = `${gone}Item ${one.item}, level ${heard.level}`;
    if (state.wanted === BEST) return `${playing}: the best available at this moment.`;
    if (heard.level === state.wanted) return `${playing}.`;
    const wanted = one.sounds.find((sound) => sound.level === state.wanted && !player.broken.has(sound));
    const why = wanted ? `is available up to ${clock(wanted.seconds)} so far` : "is not available";
    return `${playing}: level ${state.wanted} ${why}.`;
  }

  // What changes from moment to moment.
  function move() {
    const time = player.moment();
    const at = `${Math.min((100 * time) / song.seconds, 100)}%`;
    for (const { cursor } of lanes) cursor.style.left = at;
    byId("time").textContent = clock(time);
    byId("seek").value = time;
    byId("seek").setAttribute("aria-valuetext", `${clock(time)} of ${clock(player.reach())}`);
    byId("seek").style.setProperty("--done", player.reach() ? `${(100 * time) / player.reach()}%` : "0%");
    for (const { line, button } of lines) {
      const now = time >= line.start && time < line.end;
      if (now === button.hasAttribute("aria-current")) continue;
      button.removeAttribute("aria-current");
      if (!now) continue;
      button.setAttribute("aria-current", "true");
      const list = byId("lines");
      list.scrollTop = button.offsetTop - list.offsetTop - (list.clientHeight - button.offsetHeight) / 2;
    }
  }

  function tick() {
    frame = state.playing ? requestAnimationFrame(tick) : 0;
    player.keepUp();
    move();
  }

  const KEYS = {
    " ": player.toggle,
    ArrowLeft: () => player.go(player.moment() - STEP),
    ArrowRight: () => player.go(player.moment() + STEP),
    b: () => player.wish(BEST),
    n: () => player.turnTo(state.index + 1),
    p: () => player.turnTo(state.index - 1),
  };
  const OWN = { " ": "button, summary, a", ArrowLeft: "#volume", ArrowRight: "#volume" }; // keys that have work there

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(OWN[event.key] || "#none")) return;
    const chosen = levels.find(({ level }) => String(level) === event.key);
    const act = KEYS[event.key] || (chosen && (() => player.wish(chosen.level)));
    if (!act) return;
    event.preventDefault();
    act();
  }

  build();
  byId("play").addEventListener("click", player.toggle);
  byId("seek").addEventListener("input", (event) => player.go(Number(event.target.value)));
  byId("volume").addEventListener("input", ({ target }) => {
    player.setVolume(Number(target.value));
    target.style.setProperty("--done", `${100 * target.value}%`);
  });
  document.addEventListener("keydown", key);
  // A button that was clicked lets go of the keys, so that space plays and pauses; one reached by Tab keeps them.
  byId("player").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.detail && button) button.blur();
  });
  byId("player").hidden = false;
  player.go(0);
})();
