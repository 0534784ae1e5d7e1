import { defineConfig } from "vitest/config"

const conditions = ["effect-feeder:source"]

// Runs what `scripts/doctest.ts` wrote; `npm run test:docs` does both.
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [".doctest/**/*.test.ts"],
    setupFiles: ["scripts/doctestSetup.ts", "test/setup.ts"],
    testTimeout: 30_000,
    isolate: false,
    silent: "passed-only",
    reporters: process.env["CI"] ? ["default", ["json", { outputFile: ".reports/docs.json" }]] : ["default"]
  }
})
