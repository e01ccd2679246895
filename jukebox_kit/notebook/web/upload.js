// Two buttons that send a folder, or files, in pieces. `send(facts, bytes)` resolves to an answer once the piece is saved:
// {error} in a sentence, or {have: true} if the file is there already.
const PIECE = 1 << 20;

function uploadButtons(place, send) {
  const said = document.createElement("span");
  said.className = "jk-upload-said";
  const buttons = [["Upload a folder", true], ["Upload files or a zip", false]].map(([label, folder]) => {
    const button = document.createElement("button");
    const input = document.createElement("input");
    Object.assign(input, { type: "file", multiple: true, webkitdirectory: folder, hidden: true });
    input.className = folder ? "jk-upload-folder" : "jk-upload-files";
    button.className = "jupyter-button widget-button";
    Object.assign(button.style, { width: "auto", margin: "2px 4px 2px 0" });
    button.textContent = label;
    button.onclick = () => input.click();
    input.onchange = async () => {
      buttons.forEach((one) => { one.disabled = true; });
      await uploadFiles([...input.files], send, (text) => { said.textContent = text; });
      input.value = "";
      buttons.forEach((one) => { one.disabled = false; });
    };
    place.append(button, input);
    return button;
  });
  place.append(said);
}

async function uploadFiles(files, send, say) {
  const needed = files.filter((file) => KINDS.some((kind) => file.name.toLowerCase().endsWith(kind)));
  const total = needed.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  try {
    for (const file of needed) {
      const path = file.webkitRelativePath || file.name;
      let at = 0;
      do {
        const bytes = await file.slice(at, at + PIECE).arrayBuffer();
        const answer = await send({ path, size: file.size, at }, bytes);
        if (answer.error) {
          say(answer.error);
          return;
        }
        at = answer.have ? file.size : at + bytes.byteLength;
        say(` ${Math.floor((100 * (before + at)) / Math.max(1, total))} % of ${Math.ceil(total / 1e6)} MB`);
      } while (at < file.size);
      before += file.size;
    }
    const answer = await send({ paths: needed.map((file) => file.webkitRelativePath || file.name) }, new ArrayBuffer(0));
    say(answer.error || "");
  } catch (error) {
    say(`The upload was interrupted (${error.message || error}); upload the same again to continue.`);
  }
}
