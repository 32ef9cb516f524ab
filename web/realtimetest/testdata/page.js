// Runs one client and keeps what it tells. The test calls window.harness.
import { connect, fetchTicket } from "/client/index.js";

const log = [];
let told = () => {};

function note(entry) {
  log.push(entry);
  told();
}

window.harness = {
  connection: undefined,

  start({ url, token, ...options }) {
    this.connection = connect({
      url,
      ticket: () => fetchTicket(url, token),
      onEvent: (event) => note({ event }),
      onRecovered: () => note({ recovered: true }),
      onLost: () => note({ recovered: false }),
      onState: (state, { transport, error }) => note({ state, transport, error: error && String(error) }),
      ...options,
    });
  },

  // Resolves with the log once it has an entry, from the given one on, whose
  // members are those of want.
  async until(from, want) {
    const matches = (entry) => Object.entries(want).every(([member, value]) => entry[member] === value || entry.event?.[member] === value);
    while (!log.slice(from).some(matches)) await new Promise((resolve) => (told = resolve));
    return log;
  },

  log: () => log,
};
