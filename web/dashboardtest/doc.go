// Package dashboardtest holds the test of the dashboard in a browser: Chromium
// uses the pages that "make web" built, served by the built appliance, as an
// operator would. It has no code of its own.
//
// With UPDATE_SHOTS=1 it also takes the pictures of docs/dashboard.
package dashboardtest
