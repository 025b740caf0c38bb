import type { Library } from "./library.ts";
import type { HistoryItem, Image } from "./types.ts";

/** Newest first, as `docker history` shows it: the image itself, then steps, whose own images are known only where they were built here. */
export async function historyOf(library: Library, image: Image): Promise<HistoryItem[]> {
  const items: HistoryItem[] = [];
  let layer = 0;
  for (const step of image.config.history ?? []) {
    const size = step.empty_layer ? 0 : (image.layers[layer++]?.sizeBytes ?? 0);
    items.unshift({
      Id: "<missing>",
      Created: Math.floor((Date.parse(step.created ?? "") || 0) / 1000),
      CreatedBy: step.created_by ?? "",
      Tags: null,
      Size: size,
      Comment: step.comment ?? "",
    });
  }
  if (items.length === 0)
    items.push({
      Id: "",
      Created: Math.floor(image.createdMs / 1000),
      CreatedBy: "",
      Tags: null,
      Size: image.sizeBytes,
      Comment: "",
    });
  items[0] = { ...items[0]!, Id: image.id, Tags: image.repoTags.length > 0 ? [...image.repoTags] : null };
  let ancestor = image.parent;
  for (let index = 1; index < items.length && ancestor !== undefined; index++) {
    if (!library.parts.catalog.images.has(ancestor)) break;
    const known = await library.image(ancestor);
    const steps = known.config.history?.length ?? 0;
    if (items.length - index !== steps) continue;
    items[index] = { ...items[index]!, Id: known.id, Tags: known.repoTags.length > 0 ? [...known.repoTags] : null };
    ancestor = known.parent;
  }
  return items;
}
