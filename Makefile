SQLC := .tools/sqlc

$(SQLC):
	GOBIN=$(CURDIR)/.tools go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1

.PHONY: sqlc
sqlc: $(SQLC) ## Type every queries.sql into Go
	@for f in $$(git ls-files '*/sqlc.yaml'); do $(SQLC) generate -f $$f || exit 1; done
