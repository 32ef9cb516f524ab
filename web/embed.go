// Package web holds the front-end files that the binary embeds: what
// "npm run build" left in dist.
package web

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Dashboard gives the files of the dashboard: index.html, and under assets/ files
// whose names change with their content. It is nil when the binary was built
// without building the front end first.
func Dashboard() (fs.FS, error) {
	dashboard, err := fs.Sub(dist, "dist/dashboard")
	if err != nil {
		return nil, fmt.Errorf("web: open the dashboard: %w", err)
	}
	if _, err := fs.Stat(dashboard, "index.html"); err != nil {
		return nil, nil // not built: no error, the server says so on its page
	}
	return dashboard, nil
}

// Docs gives the files of Swagger UI, or nil when the binary was built without
// building the front end first.
func Docs() (fs.FS, error) {
	docs, err := fs.Sub(dist, "dist/docs")
	if err != nil {
		return nil, fmt.Errorf("web: open the documentation: %w", err)
	}
	if _, err := fs.Stat(docs, "swagger-ui-bundle.js"); err != nil {
		return nil, nil // not built: no error, the server says so on its page
	}
	return docs, nil
}
