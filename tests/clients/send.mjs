// Sends one log record per line of standard input through OpenTelemetry's exporter named by the first argument,
// to the endpoint that the second names, and prints "sent" when the exporter is through.
import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPLogExporter as Grpc } from "@opentelemetry/exporter-logs-otlp-grpc";
import { OTLPLogExporter as Json } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPLogExporter as Protobuf } from "@opentelemetry/exporter-logs-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { createInterface } from "node:readline";

const [kind, url] = process.argv.slice(2);
const exporter = new { Grpc, Json, Protobuf }[kind]({ url, compression: "gzip" });
const provider = new LoggerProvider({
  resource: resourceFromAttributes({ "service.name": "javascript" }),
  processors: [new BatchLogRecordProcessor({ exporter, scheduledDelayMillis: 100 })],
});
const logger = provider.getLogger("clients", "1.0");
for await (const line of createInterface({ input: process.stdin })) {
  const { eventName, body, attributes, time } = JSON.parse(line);
  logger.emit({
    eventName,
    body,
    attributes: { ...attributes, bytes: new Uint8Array([0, 1, 255]) },
    timestamp: [Math.floor(time / 1000), (time % 1000) * 1e6],
    severityNumber: SeverityNumber.INFO,
  });
}
await provider.forceFlush();
await provider.shutdown();
console.log("sent");
