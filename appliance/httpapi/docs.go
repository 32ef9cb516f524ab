package httpapi

import (
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// docsCSP lets the page of the documentation load its own files alone. Swagger
// UI's style sheet holds images as data addresses.
const docsCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsPage is the documentation; its script is a file, since the policy allows
// no inline script.
const docsPage = `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>API</title>
  <link rel="stylesheet" href="swagger-ui.css">
  <link rel="icon" type="image/png" href="favicon-32x32.png">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="swagger-ui-bundle.js"></script>
  <script src="start.js"></script>
</body>
</html>
`

// docsScript starts Swagger UI. The page rounds whole numbers beyond 2^53 when
// it shows an answer, and most ids are longer: they are shown as texts, so that
// what is copied from one answer into the next request is the id.
const docsScript = `function exactNumbers(response) {
  if (typeof response.text === "string" && !/\/api\/schema\//.test(response.url)) {
    response.text = response.text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, function (part) {
      return part[0] === '"' ? part : '"' + part + '"';
    });
  }
  return response;
}

window.addEventListener("load", function () {
  SwaggerUIBundle({
    url: "../schema/",
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    queryConfigEnabled: false,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    responseInterceptor: exactNumbers
  });
});
`

// noDocs is shown when the binary was built without the files of Swagger UI.
const noDocs = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>API</title></head>
<body><p>This build has no Swagger UI. The document itself is at <a href="../schema/">/api/schema/</a>.</p></body>
</html>
`

func docsHeaders(c *fiber.Ctx, contentType string) {
	c.Set("Content-Security-Policy", docsCSP)
	c.Set(fiber.HeaderContentType, contentType)
}

func (a *API) docs(c *fiber.Ctx) error {
	docsHeaders(c, typeHTML)
	c.Set(fiber.HeaderCacheControl, "no-cache")
	if a.opts.Docs == nil {
		return c.SendString(noDocs)
	}
	if _, err := fs.Stat(a.opts.Docs, "swagger-ui-bundle.js"); err != nil {
		return c.SendString(noDocs)
	}
	return c.SendString(docsPage)
}

// docsFile serves one file of Swagger UI. The files are embedded and few; the
// type follows from the name.
func (a *API) docsFile(c *fiber.Ctx) error {
	name := Param(c, "file")
	if name == "start.js" {
		docsHeaders(c, "text/javascript; charset=utf-8")
		return c.SendString(docsScript)
	}
	types := map[string]string{
		".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png", ".txt": "text/plain; charset=utf-8",
	}
	contentType, ok := types[path.Ext(name)]
	if !ok || a.opts.Docs == nil || strings.ContainsAny(name, `/\`) || !fs.ValidPath(name) {
		return NoSuchPath()
	}
	data, err := fs.ReadFile(a.opts.Docs, name)
	if err != nil {
		return NoSuchPath()
	}
	docsHeaders(c, contentType)
	c.Set(fiber.HeaderCacheControl, "public, max-age=3600")
	return c.Status(http.StatusOK).Send(data)
}

// schema answers with the document.
func (a *API) schema(c *fiber.Ctx) error {
	if c.Query("format") == "yaml" || strings.Contains(c.Get(fiber.HeaderAccept), "yaml") {
		c.Set(fiber.HeaderContentType, "application/yaml")
		return c.Send(a.document.yaml)
	}
	c.Set(fiber.HeaderContentType, typeJSON)
	return c.Send(a.document.json)
}
