package storage

import (
	"context"
	"time"

	"selflink/appliance/health"
)

// CheckCode is the code of the health check.
const CheckCode = "storage"

// checkTime is enough for a slow S3 server to answer a small question.
const checkTime = 10 * time.Second

// HealthCheck watches s. A failing storage takes no other part down: what
// needs no file goes on.
func HealthCheck(s Store) health.Check {
	impact := "Uploads are refused, and files cannot be seen."
	remedy := "See what is wrong: selflink storage status"
	return health.Check{
		Code: CheckCode, Title: "Files cannot be stored", Severity: health.High, Impact: impact, Remedy: remedy,
		Every: time.Minute, Visible: 10 * time.Second, Timeout: checkTime,
		Run: func(ctx context.Context) error { return s.Check(ctx) },
	}
}
