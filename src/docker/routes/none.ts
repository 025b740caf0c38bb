import { notFound, notImplemented, unavailable } from "../../base/index.ts";
import { json, type Route } from "../route.ts";

/** The groups that berth has not: they answer as a Docker that is no swarm node, has no plugins and no BuildKit, at once and in its words. */
export function absentRoutes(): Route[] {
  return [...swarmRoutes(), ...pluginRoutes(), ...buildKitRoutes()];
}

const NOT_A_MANAGER =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

const refuse = (method: Route["method"], path: string, error: () => Error): Route => ({
  method,
  path,
  handle: () => {
    throw error();
  },
});

function swarmRoutes(): Route[] {
  const notAManager = () => unavailable(NOT_A_MANAGER);
  const noSwarm = () =>
    notImplemented("berth has no swarm mode", { hint: "berth runs Kubernetes: `berth env`, then kubectl" });
  const collections = ["services", "secrets", "configs"].flatMap((group) => [
    refuse("GET", `/${group}`, notAManager),
    refuse("POST", `/${group}/create`, notAManager),
    refuse("GET", `/${group}/{id}`, notAManager),
    refuse("DELETE", `/${group}/{id}`, notAManager),
    refuse("POST", `/${group}/{id}/update`, notAManager),
  ]);
  return [
    refuse("GET", "/swarm", notAManager),
    refuse("POST", "/swarm/init", noSwarm),
    refuse("POST", "/swarm/join", noSwarm),
    refuse("POST", "/swarm/leave", () => unavailable("This node is not part of a swarm")),
    refuse("POST", "/swarm/update", notAManager),
    refuse("GET", "/swarm/unlockkey", notAManager),
    refuse("POST", "/swarm/unlock", notAManager),
    refuse("GET", "/nodes", notAManager),
    refuse("GET", "/nodes/{id}", notAManager),
    refuse("DELETE", "/nodes/{id}", notAManager),
    refuse("POST", "/nodes/{id}/update", notAManager),
    ...collections,
    refuse("GET", "/services/{id}/logs", notAManager),
    refuse("GET", "/tasks", notAManager),
    refuse("GET", "/tasks/{id}", notAManager),
    refuse("GET", "/tasks/{id}/logs", notAManager),
  ];
}

function pluginRoutes(): Route[] {
  const noPlugins = () => notImplemented("berth has no plugins");
  const absent = (method: Route["method"], path: string): Route => ({
    method,
    path,
    handle: ({ params }) => {
      throw notFound(`plugin "${params["name"]}" not found`);
    },
  });
  return [
    { method: "GET", path: "/plugins", handle: () => json([]) },
    refuse("GET", "/plugins/privileges", noPlugins),
    refuse("POST", "/plugins/pull", noPlugins),
    refuse("POST", "/plugins/create", noPlugins),
    absent("GET", "/plugins/{name...}/json"),
    absent("POST", "/plugins/{name...}/enable"),
    absent("POST", "/plugins/{name...}/disable"),
    absent("POST", "/plugins/{name...}/upgrade"),
    absent("POST", "/plugins/{name...}/push"),
    absent("POST", "/plugins/{name...}/set"),
    absent("DELETE", "/plugins/{name...}"),
  ];
}

function buildKitRoutes(): Route[] {
  const noBuildKit = () =>
    notImplemented("berth does not speak BuildKit's own protocol", {
      hint: "set DOCKER_BUILDKIT=0 (`berth env` does)",
    });
  return [refuse("POST", "/session", noBuildKit), refuse("POST", "/grpc", noBuildKit)];
}
