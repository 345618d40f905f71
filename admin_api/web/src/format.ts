// Numbers with their units, as people read them.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const NOTHING = "–";

type Maybe = number | null | undefined;

function absent(value: Maybe): value is null | undefined {
  return value === null || value === undefined || Number.isNaN(value);
}

/** Three significant digits, no more than needed. */
function short(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

export function bytes(value: Maybe): string {
  if (absent(value)) return NOTHING;
  let rest = Math.abs(value);
  let unit = 0;
  while (rest >= 1023.5 && unit < BINARY.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  const sign = value < 0 ? "−" : "";
  return `${sign}${unit === 0 ? Math.round(rest) : short(rest)} ${BINARY[unit]}`;
}

export function byteRate(value: Maybe): string {
  return absent(value) ? NOTHING : `${bytes(value)}/s`;
}

export function count(value: Maybe): string {
  if (absent(value)) return NOTHING;
  if (value >= 1e6) return `${short(value / 1e6)} M`;
  return Math.round(value).toLocaleString("en");
}

export function perSecond(value: Maybe): string {
  if (absent(value)) return NOTHING;
  return `${value > 0 && value < 10 ? short(value) : count(value)}/s`;
}

export function share(value: Maybe): string {
  if (absent(value)) return NOTHING;
  const percent = value * 100;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  return `${percent.toLocaleString("en", { maximumFractionDigits: percent < 10 || (percent > 99 && percent < 100) ? 1 : 0 })} %`;
}

export function latency(us: Maybe): string {
  if (absent(us)) return NOTHING;
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 1e6 ? `${short(us / 1000)} ms` : `${short(us / 1e6)} s`;
}

export function duration(seconds: Maybe): string {
  if (absent(seconds)) return NOTHING;
  if (seconds < 10) return `${seconds.toLocaleString("en", { maximumFractionDigits: 1 })} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export function money(value: Maybe, currency: string | null): string {
  if (absent(value) || currency === null) return NOTHING;
  const small = Math.abs(value) < 1 && value !== 0;
  if (small && Math.abs(value) < 0.0001) return `< ${money(0.0001, currency)}`;
  return value.toLocaleString("en", {
    style: "currency",
    currency,
    minimumFractionDigits: 2,
    maximumFractionDigits: small ? 4 : 2,
  });
}

/** A moment, of this browser's time zone. at: seconds since 1970. */
export function moment(at: Maybe): string {
  if (absent(at)) return NOTHING;
  const date = new Date(at * 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(at)}`;
}

export function clock(at: number): string {
  const date = new Date(at * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** Bytes of a text such as `500 GiB`, `1.5TB`, `4096`; null for anything else. */
export function parseBytes(text: string): number | null {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgtpe]?)(i?)b?\s*$/i.exec(text);
  if (!found) return null;
  const [, number = "", prefix = "", binary = ""] = found;
  const power = prefix ? "KMGTPE".indexOf(prefix.toUpperCase()) + 1 : 0;
  return Math.round(Number(number) * (binary || power === 0 ? 1024 : 1000) ** power);
}

/** Seconds of a text such as `30s`, `15 min`, `2h`, `7d`; null for anything else. */
export function parseSeconds(text: string): number | null {
  const found = /^\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)?\s*$/i.exec(text);
  if (!found) return null;
  const units: Record<string, number> = { s: 1, sec: 1, m: 60, min: 60, h: 3600, d: 86_400 };
  return Number(found[1]) * (units[(found[2] ?? "s").toLowerCase()] ?? 1);
}

/** As a text that parseBytes reads back exactly. */
export function exactBytes(value: Maybe): string {
  if (absent(value)) return "";
  for (let power = BINARY.length - 1; power > 0; power -= 1) {
    const unit = 1024 ** power;
    if (value >= unit && value % unit === 0) return `${value / unit} ${BINARY[power]}`;
  }
  return String(value);
}
