import { defineConfig } from "vitest/config"

// Makes `import … from "effect-feeder"` mean `src` in tests; users get `dist`.
const conditions = ["effect-feeder:source"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    testTimeout: 30_000,
    // Most of them wait for processes and sockets more than they compute.
    maxWorkers: 2,
    reporters: process.env["CI"] ? ["default", ["json", { outputFile: ".reports/unit.json" }]] : ["default"]
  }
})
