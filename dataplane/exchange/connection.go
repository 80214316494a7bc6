package exchange

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// connection fills x for a connection that carries no requests.
func (x *Exchange) connection(env *Env, head *message.Head, in Arrival) {
	x.head, x.raw = head, true
	x.peer, x.client = in.Peer, in.Peer
	x.start, x.startWall = in.Start, in.WallTime
	x.begun, x.touched = in.Now, in.Now
	x.listener, x.version = env.Listener.Name, env.Table.Version
	x.makeID(env)
}
