import type { k8s } from "../../../api/index.ts";
import { ageColumn, nameColumn, text } from "../shared/columns.ts";
import { invalid } from "../shared/field-errors.ts";
import { isPathSegment } from "../shared/names.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";

type Service = k8s.APIService;

export const apiregistrationKinds: GroupKinds = {
  apiservices: {
    categories: ["api-extensions"],
    // Core's is `v1.`, which is no DNS name.
    checkName: isPathSegment,
    validate(object) {
      const { spec, metadata } = object as Service;
      const wanted = `${spec?.version ?? ""}.${spec?.group ?? ""}`;
      return metadata.name === wanted
        ? []
        : [
            invalid(
              "metadata.name",
              metadata.name,
              `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(wanted)}`,
            ),
          ];
    },
    fillDefaults(object) {
      const service = (object as Service).spec?.service;
      if (service !== undefined) service.port ??= 443;
    },
    columns: [
      nameColumn,
      text<Service>("Service", ({ spec }) =>
        spec?.service === undefined ? "Local" : `${spec.service.namespace}/${spec.service.name}`,
      ),
      text<Service>("Available", ({ status }) => {
        const found = status?.conditions?.find(({ type }) => type === "Available");
        if (found === undefined) return "Unknown";
        return found.status === "True" ? "True" : `${found.status} (${found.reason})`;
      }),
      ageColumn,
    ],
  },
};
