package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shop = marker + `package qapi

// CmdBuy buys something. It fails with
// DeviceNotFound if there is none.
//
//qapi:features unstable
var CmdBuy = Command[Order, Receipts]{Name: "buy", OOB: true, Preconfig: true}

// CmdLeave ends it.
var CmdLeave = Command[Empty, Empty]{Name: "leave", Silent: true}

// CmdAsk asks.
var CmdAsk = Command[Empty, Text]{Name: "ask"}

// EventClosed says that the shop | is closed.
var EventClosed = Event[Receipt]{Name: "CLOSED", RateLimited: true}

// Order is the arguments of buy.
type Order struct {
	Base
	Note *string ` + "`qapi:\"note,feature=deprecated\"`" + ` // for humans
	Pay  *Card   ` + "`qapi:\",branch=card\"`" + `
	More Value   ` + "`qapi:\",rest\"`" + `
}

// Base has the tag.
type Base struct {
	By    Means ` + "`qapi:\"by,discriminator\"`" + ` // how
	Price float64 ` + "`qapi:\"price\"`" + `
}

// Card is a card.
type Card struct { Number int64 ` + "`qapi:\"number\"`" + ` }

// Means is how one pays.
type Means string

// The means.
const (
	MeansCash Means = "cash"
	// MeansCard is deprecated.
	//qapi:features deprecated
	MeansCard Means = "card"
)

// Receipt is a proof.
type Receipt struct {
	Of   What     ` + "`qapi:\"of\"`" + ` // a | b
	Next Receipts ` + "`qapi:\"next\"`" + `
	Id   string   ` + "`qapi:\"id\"`" + `
}

// Receipts are proofs.
type Receipts []Receipt

// What is one or the other.
type What struct {
	Flag *bool ` + "`qapi:\"flag,alternate\"`" + `
	Text *string ` + "`qapi:\"text,alternate\"`" + `
}

// QapiErrorClass is a class.
type QapiErrorClass string

// The classes.
const QapiErrorClassDeviceNotFound QapiErrorClass = "DeviceNotFound" // nothing
`

func TestReference(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.go"), []byte(shop), 0o600); err != nil {
		t.Fatal(err)
	}
	_, text, err := generate(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for _, want := range []string{
		"### buy\n\nBuys something. It fails with\nDeviceNotFound if there is none.\n",
		"Notes: available before the machine is built; may be executed out of band; feature unstable.",
		"| `by` | [Means](#type-Means) | how |\n| `price` | number |  |\n| `note`* | string | for humans (deprecated) |",
		"Any other member is taken too.",
		"If `by` is `card`, also the members of [Card](#type-Card).",
		"Returns: list of [Receipt](#type-Receipt)",
		"Errors: DeviceNotFound",
		`-> {"execute": "buy", "arguments": {"by": "card", "price": 0.5, "number": 1}}`,
		`<- {"return": [{"of": true, "next": [{"of": true, "next": [{"of": true, "next": [], "id": "disk0"}], "id": "disk0"}], "id": "disk0"}]}`,
		"### leave\n\nEnds it.\n\nNotes: not answered if it succeeds.\n\n```\n-> {\"execute\": \"leave\"}\n```",
		"Returns: string\n\n```\n-> {\"execute\": \"ask\"}\n<- {\"return\": \"text\"}",
		"### CLOSED\n\nSays that the shop | is closed.\n\nNotes: limited in rate.",
		"| `of` | [What](#type-What) | a \\| b |",
		`"event": "CLOSED", "data": {"`,
		"One of: boolean, string.",
		"| `card` | MeansCard is deprecated. (deprecated) |",
		"| `DeviceNotFound` | nothing |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(got, "### Order") {
		t.Error("arguments are described twice")
	}
	if t.Failed() {
		t.Logf("%s", got)
	}
}

// TestAllIsDocumented finds what would be empty in the reference.
func TestAllIsDocumented(t *testing.T) {
	files, err := load(schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, d := range f.descriptors {
			if !strings.HasPrefix(d.doc, d.ident+" ") {
				t.Errorf("%s.go: the comment of %s does not begin with its name", f.name, d.ident)
			}
		}
		for _, x := range f.types {
			if !strings.HasPrefix(x.doc, x.name+" ") {
				t.Errorf("%s.go: the comment of %s does not begin with its name", f.name, x.name)
			}
		}
	}
}
