export { Catalogue, RECIPES } from "./catalogue.ts";
