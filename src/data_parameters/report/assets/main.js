// Puts the page together.

function main() {
  theme();
  overview();
  curves();
  temperatures();
  const { instances, run } = DATA;
  const review = instances && instances.index.length ? createReview(instances) : { open() {}, filter() {} };
  noise(review);
  classes(review);
  if (instances && instances.index.length) {
    show("review");
    const shown = instances.index.length;
    const pictures = instances.previews.filter(({ text, image }) => text !== undefined || image).length;
    byId("review-words").textContent =
      (shown < run.num_instances ? `The ${whole.format(shown)} lowest scores of ${plural(run.num_instances, "instance")}` : `All ${plural(shown, "instance")}`) +
      (pictures && pictures < shown ? `, the first ${whole.format(pictures)} with a preview` : "") +
      ". A low score says that the label is probably wrong. Decisions stay in this browser; export them to train on them.";
    review.open();
  }
  navigation();
  print();
  byId("footer").append(`Written by data-parameters ${run.versions["data-parameters"] ?? ""}. This file needs no network and sends nothing.`);
}

main();
