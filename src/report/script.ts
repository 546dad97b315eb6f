/** The page's only script: which traces are shown. Without it all of them are. */
export const filterScript = `
{
  const form = document.getElementById('filters');
  const articles = [...document.querySelectorAll('#samples > article')];
  const [search, dataset] = [form.querySelector('input[type=search]'), form.querySelector('select')];
  const boxes = [...form.querySelectorAll('input[type=checkbox]')];
  const show = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const arms = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const article of articles) {
      const text = article.textContent.toLowerCase();
      article.hidden = !((dataset.value === '' || article.dataset.dataset === dataset.value) && words.every((word) => text.includes(word)));
      shown += article.hidden ? 0 : 1;
      for (const section of article.querySelectorAll('section')) section.hidden = !arms.has(section.dataset.arm);
    }
    form.querySelector('output').textContent = shown + ' of ' + articles.length;
  };
  form.addEventListener('input', show);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.hidden = articles.length === 0;
  show();
}
`;
