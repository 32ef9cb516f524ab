package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"selflink/appliance/httpapi"
	"selflink/services/accounts"
)

// admin is "selflink admin".
func admin(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "admin", args, []verb{
		{"create", "make an account with all rights", adminCreate},
		{"list", "list the accounts with rights", adminList},
		{"promote", "give an account all rights", adminPromote},
		{"demote", "take all rights from an account", adminDemote},
		{"deactivate", "close an account and end its sessions", adminDeactivate},
		{"reset-password", "set a new password and end the account's sessions", adminReset},
	})
}

const passwordHelp = "The password is asked for, or read from a line of the standard input, or made\nand printed once with --generate. It is never an argument, which everybody on\nthis machine could read."

func adminCreate(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("admin create [EMAIL] [options]", "Makes an account with all rights.\n\n"+passwordHelp+"\nADMIN_EMAIL, ADMIN_NAME and ADMIN_PASSWORD count when nothing else is given.")
	o.most = 1
	email := o.set.String("email", "", "`address` of the account")
	name := o.set.String("name", "", "`name` of the person (the address up to its @)")
	how := o.password()
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	who := first(append([]string{*email}, append(o.words, cfg.AdminEmail)...)...)
	if who == "" {
		return fmt.Errorf("%w: name the address, as in: selflink admin create --email you@example.com", errUsage)
	}
	if !*how.generate && !*how.stdin {
		how.given = cfg.AdminPassword.Reveal()
	}
	return p.withPassword(ctx, o, how, func(l ledger, password string) error {
		// An administrator may be made before the first start.
		if _, _, err := l.Migrate(ctx); err != nil {
			return fmt.Errorf("cannot bring the schema up to date: %w", err)
		}
		id, err := l.Accounts().CreateAdmin(ctx, who, password, first(*name, cfg.AdminName))
		var refused *httpapi.Error
		if errors.As(err, &refused) {
			return fmt.Errorf("cannot create the administrator: %s has an account already\n  Give it all rights with:  selflink admin promote %s", who, who)
		}
		if err != nil {
			return fmt.Errorf("cannot create the administrator: %w", err)
		}
		return p.done(o, how, id, "%s is an administrator now.\n", who, password)
	})
}

func adminList(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("admin list [options]", "Lists the accounts with rights: viewers look at the dashboard, operators act.")
	if err := o.parse(args); err != nil {
		return err
	}
	l, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	list, err := l.Accounts().Staff(ctx)
	if err := closing(l, err); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(append([]accounts.PersonSummary{}, list...))
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(p.stdout, "Nobody has rights yet. Make an administrator with:  selflink admin create --email you@example.com")
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROLE\tADDRESS\tHANDLE\tSTATE\tIN THE DASHBOARD")
	for _, a := range list {
		state, seen := "active", "never"
		if !a.Active {
			state = "deactivated"
		}
		if a.LastLogin != nil {
			seen = moment(*a.LastLogin)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.Role, oneLine(a.Email, 80), a.Handle, state, seen)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func adminPromote(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("admin promote EMAIL-OR-HANDLE [options]", "Gives an existing account all rights.")
	return p.actOn(ctx, o, args, "promote", "%s has all rights now.\n", accountKeeper.Promote)
}

func adminDemote(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("admin demote EMAIL-OR-HANDLE [options]", "Takes all rights from an account and signs it out of the dashboard. The last\noperator stays.")
	return p.actOn(ctx, o, args, "demote", "%s has no rights any more.\n", accountKeeper.Demote)
}

func adminDeactivate(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("admin deactivate EMAIL-OR-HANDLE [options]", "Closes an account: it cannot sign in, and all its sessions end. Its data stay. The\nlast operator stays.")
	return p.actOn(ctx, o, args, "deactivate", "%s is closed; all its sessions have ended.\n", accountKeeper.CloseAccount)
}

// actOn does one thing with the account that the arguments name.
func (p *program) actOn(ctx context.Context, o *options, args []string, what, text string, act func(accountKeeper, context.Context, string) (int64, error)) error {
	user := o.who()
	if err := o.parse(args); err != nil {
		return err
	}
	who, err := user()
	if err != nil {
		return err
	}
	l, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	id, err := act(l.Accounts(), ctx, who)
	if err != nil {
		return closing(l, fmt.Errorf("cannot %s %s: %w", what, who, err))
	}
	return closing(l, p.done(o, nil, id, text, who, ""))
}

func adminReset(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("admin reset-password EMAIL-OR-HANDLE [options]", "Sets a new password and ends all sessions of the account.\n\n"+passwordHelp)
	user, how := o.who(), o.password()
	if err := o.parse(args); err != nil {
		return err
	}
	who, err := user()
	if err != nil {
		return err
	}
	return p.withPassword(ctx, o, how, func(l ledger, password string) error {
		id, err := l.Accounts().ResetPassword(ctx, who, password)
		if err != nil {
			return fmt.Errorf("cannot reset the password of %s: %w", who, err)
		}
		return p.done(o, how, id, "%s has a new password; all its sessions have ended.\n", who, password)
	})
}

// who adds the word and the flag that name an account, and returns how to read
// them after parsing.
func (o *options) who() func() (string, error) {
	o.most = 1
	email := o.set.String("email", "", "`address` or handle of the account")
	return func() (string, error) {
		who := first(append([]string{*email}, o.words...)...)
		if who == "" {
			return "", fmt.Errorf("%w: name the account by its address or handle; selflink %s -h explains", errUsage, o.set.Name())
		}
		return who, nil
	}
}

// passwordSource says where a password comes from.
type passwordSource struct {
	generate, stdin *bool
	given           string // by the settings
	made            bool   // it was generated, so it has to be printed
}

func (o *options) password() *passwordSource {
	return &passwordSource{
		generate: o.set.Bool("generate", false, "make a password and print it once"),
		stdin:    o.set.Bool("password-stdin", false, "read the password from a line of the standard input"),
	}
}

// withPassword finds the password before it opens the database, so that
// nothing is held while a person types.
func (p *program) withPassword(ctx context.Context, o *options, how *passwordSource, f func(l ledger, password string) error) error {
	password, err := p.password(ctx, how)
	if err != nil {
		return err
	}
	l, err := p.ledger(ctx, o)
	if err != nil {
		return err
	}
	return closing(l, f(l, password))
}

func (p *program) password(ctx context.Context, how *passwordSource) (string, error) {
	file := terminal(p.stdin)
	switch {
	case *how.generate && *how.stdin:
		return "", fmt.Errorf("%w: --generate and --password-stdin exclude each other", errUsage)
	case *how.generate:
		how.made = true
		return rand.Text(), nil
	case how.given != "":
		return how.given, nil
	case file == nil || *how.stdin:
		password, err := readLine(ctx, p.stdin)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		if strings.TrimSpace(password) == "" {
			return "", fmt.Errorf("%w: no password was given: pipe it in, or let one be made with --generate", errUsage)
		}
		return password, nil
	}
	password, err := askHidden(ctx, file, p.stderr, "Password (empty: one is made): ")
	if err != nil {
		return "", fmt.Errorf("ask for the password: %w", err)
	}
	if strings.TrimSpace(password) == "" {
		how.made = true
		return rand.Text(), nil
	}
	again, err := askHidden(ctx, file, p.stderr, "The same again: ")
	if err != nil {
		return "", fmt.Errorf("ask for the password: %w", err)
	}
	if again != password {
		return "", fmt.Errorf("%w: the two passwords differ; nothing was changed", errUsage)
	}
	return password, nil
}

// done reports success, with the password when this command made it.
func (p *program) done(o *options, how *passwordSource, id int64, text, who, password string) error {
	made := how != nil && how.made
	if o.json {
		out := map[string]any{"id": fmt.Sprint(id), "account": who}
		if made {
			out["password"] = password
		}
		return p.printJSON(out)
	}
	if _, err := fmt.Fprintf(p.stdout, text, who); err != nil {
		return err
	}
	if !made {
		return nil
	}
	_, err := fmt.Fprintf(p.stdout, "Its password is  %s  and is not shown again.\n", password)
	return err
}

// first is the first text that is not blank.
func first(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return t
		}
	}
	return ""
}
