package database_test

import (
	"os"
	"testing"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(database.HelperDir); dir != "" {
		database.Helper(dir)
		return
	}
	databasetest.Main(m)
}
