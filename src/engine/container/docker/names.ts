import { randomInt, type Random } from "../../../base/index.ts";

const QUALITIES =
  "amber brisk calm clever coral daring eager early fair fleet gentle glad golden keen kind light lively lucid mellow merry misty noble patient placid quick quiet ready rosy sandy serene silver smooth snug steady sunny swift tidy vivid warm witty";
const HARBOUR =
  "anchor barge beacon bollard buoy capstan cleat compass coracle dinghy dock ferry galley gull harbour hawser helm jetty keel ketch lantern lugger mast mole mooring oar pier pilot pontoon quay rudder sail schooner sextant skiff sloop spar tiller tug wharf";

/** A name for a container that was given none; `attempt` adds digits when names run out. */
export function randomName(random: Random, attempt: number): string {
  const pick = (words: string) => {
    const list = words.split(" ");
    return list[randomInt(random, list.length)]!;
  };
  return `${pick(QUALITIES)}_${pick(HARBOUR)}${attempt > 2 ? randomInt(random, 10_000) : ""}`;
}
