import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { validateEndpoints } from "./endpoints-validation.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Endpoints = k8s.Endpoints;
const shownAtMost = 3;

export const endpoints: Peculiarities = {
  shortNames: ["ep"],
  singular: "endpoints",
  deprecation: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
  fillDefaults(object) {
    for (const subset of (object as Endpoints).subsets ?? [])
      for (const port of subset.ports ?? []) port.protocol ??= "TCP";
  },
  validate: validateEndpoints,
  columns: [nameColumn, text<Endpoints>("Endpoints", format), ageColumn],
};

function format({ subsets = [] }: Endpoints): string {
  const all: string[] = [];
  for (const { addresses = [], ports = [] } of subsets) {
    if (ports.length === 0) all.push(...addresses.map(({ ip }) => ip));
    for (const { port } of ports)
      all.push(...addresses.map(({ ip }) => (ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`)));
  }
  if (all.length === 0) return "<none>";
  const more = all.length - shownAtMost;
  return all.slice(0, shownAtMost).join(",") + (more > 0 ? ` + ${more} more...` : "");
}
