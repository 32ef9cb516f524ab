// Amounts as people read them. The API speaks in the smallest unit of a
// currency: cents, or whole yen.

const NONE = "–";
const writers = new Map<string, Intl.NumberFormat | null>();

/** How many digits of an amount stand after the point: 2 for EUR, 0 for JPY. */
export function digits(currency: string): number {
  return writer(currency)?.resolvedOptions().maximumFractionDigits ?? 2;
}

/** 1234 and "EUR" is "12.34 EUR". Without a currency it is a bare number. */
export function money(smallest: number | null | undefined, currency: string): string {
  if (smallest === null || smallest === undefined) return NONE;
  const code = currency.toUpperCase();
  const places = digits(code);
  const amount = smallest / 10 ** places;
  const text = new Intl.NumberFormat("en", { minimumFractionDigits: places, maximumFractionDigits: places }).format(amount);
  return code === "" ? text : `${text} ${code}`;
}

function writer(code: string): Intl.NumberFormat | null {
  let known = writers.get(code);
  if (known === undefined) {
    try {
      known = new Intl.NumberFormat("en", { style: "currency", currency: code });
    } catch {
      known = null; // no code of three letters
    }
    writers.set(code, known);
  }
  return known;
}
