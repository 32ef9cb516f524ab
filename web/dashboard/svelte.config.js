// What the compiler and svelte-check agree on. External: the policy of the page
// forbids inline styles.
export default { compilerOptions: { css: "external", runes: true } };
