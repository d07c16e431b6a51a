// Command goclients drives a monitor with Go libraries that were written for
// QEMU. Argument: the path of its socket.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

const patience = 200 * time.Second

func main() {
	log.SetFlags(0)
	socket := os.Args[1]
	if err := goQemu(socket); err != nil {
		log.Fatal("go-qemu: ", err)
	}
	commands, err := list(socket)
	if err != nil {
		log.Fatal(err)
	}
	if err := govmm(socket, commands); err != nil {
		log.Fatal("govmm: ", err)
	}
	fmt.Println("goclients: all is well")
}

// list returns the commands that there are.
func list(socket string) ([]string, error) {
	m, err := connect(socket)
	if err != nil {
		return nil, err
	}
	defer m.Disconnect()
	b, err := json.Marshal(qmp.Command{Execute: "query-commands"})
	if err != nil {
		return nil, err
	}
	reply, err := m.Run(b)
	if err != nil {
		return nil, err
	}
	var r struct{ Return []struct{ Name string } }
	err = json.Unmarshal(reply, &r)
	var names []string
	for _, c := range r.Return {
		names = append(names, c.Name)
	}
	return names, err
}
