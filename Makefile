SQLC := .tools/sqlc

$(SQLC):
	GOBIN=$(CURDIR)/.tools go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1

.PHONY: sqlc
sqlc: $(SQLC) ## Generate typed queries from queries.sql
	$(SQLC) generate
