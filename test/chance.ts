export { chance } from "../src/internal/chance.ts"
