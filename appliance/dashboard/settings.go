package dashboard

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/config"
	"selflink/appliance/health/posture"
)

// diagnosticsTime bounds the making of a bundle.
const diagnosticsTime = time.Minute

// Checklist says whether the appliance is ready to be shown to the world.
type Checklist struct {
	Items []posture.Item `json:"items"`
}

func (d *Desk) registerSettings() {
	Handle(d, Operation{Method: http.MethodGet, Path: "settings", ID: "settings", Summary: "The settings in force, and where they come from."},
		func(context.Context, *struct{}) (config.View, error) { return d.opts.Config.View(), nil })
	Handle(d, Operation{Method: http.MethodGet, Path: "settings/checklist", ID: "settings_checklist", Summary: "What to do before others use it."},
		func(context.Context, *struct{}) (Checklist, error) {
			return Checklist{posture.Checklist(d.opts.Health.Checks())}, nil
		})
	Stream(d, Operation{
		Method: http.MethodGet, Path: "settings/diagnostics", ID: "diagnostics", Operators: true, Produces: "application/gzip", Timeout: diagnosticsTime,
		Summary: "A bundle for whoever helps: settings, health, logs and numbers, without secrets.",
	}, d.diagnostics)
}

func (d *Desk) diagnostics(c *fiber.Ctx, _ *struct{}) error {
	ctx := c.UserContext()
	var bundle bytes.Buffer // bounded by its sections
	err := d.Act(ctx, Deed{Action: "diagnostics.download", ObjectType: "diagnostics"}, func() error { return d.opts.Diagnostics(ctx, &bundle) })
	if err != nil {
		return fmt.Errorf("make the bundle: %w", err)
	}
	c.Set(fiber.HeaderContentType, "application/gzip")
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderContentDisposition, fmt.Sprintf(`attachment; filename="selflink-diagnostics-%s.tar.gz"`, time.Now().UTC().Format("20060102T150405Z")))
	return c.Status(http.StatusOK).Send(bundle.Bytes())
}
