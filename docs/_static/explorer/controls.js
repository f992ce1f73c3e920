/** Sliders and buttons that are bound to the state of the page. */

/** Binds a range or number input, by the name of what it sets, to `change`. */
export function bindInput(root, name, change) {
  const input = root.querySelector(`input[name="${name}"]`);
  const shown = root.querySelector(`output[for="${input.id}"]`);
  input.addEventListener("input", () => {
    if (input.value !== "" && input.validity.valid) change({ [name]: Number(input.value) });
  });
  input.addEventListener("change", () => input.reportValidity());
  return ({ value, max = input.max }) => {
    input.max = max;
    if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
    if (shown) shown.textContent = value;
  };
}

/** Lets every button of `root` with data-copies copy the text of the element of that id. */
export function bindCopyButtons(root, announce) {
  for (const button of root.querySelectorAll("button[data-copies]")) {
    const source = document.getElementById(button.dataset.copies);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        announce("Copied.");
      } catch {
        getSelection().selectAllChildren(source);
        announce("Selected: copy it with the keyboard.");
      }
    });
  }
}
