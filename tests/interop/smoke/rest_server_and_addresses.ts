import { Node } from '/~peerfetch/smoke.js'

// Server

(async () => {

  // Host...

  const host = new Node({  })

  const app = host.rest.createServer()

  app.get('/', async (req, res) => {

    res.headers['Content-Type'] = 'text/html'

    res.send(`<h1>hello world</h1>`)
  })

  app.listen(80)

  // Client

  // Resolve the host address. The host may choose to publish their address to
  // a remote registry or other discovery service for other nodes to find it.
  // Here we simply call the hosts .address() method directly.

  const address = await host.address()

  const node = new Node({ })

  const response = await node.rest.fetch(`rest://${address}/`)

  const content = await response.text()

  console.log(content)

})()
