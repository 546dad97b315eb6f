#include "tcp_peers.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "communicator.h"

namespace cd {

namespace {
constexpr char kData = 'D', kFailure = 'F';
constexpr size_t kMostText = 2000;
constexpr auto kSlice = std::chrono::milliseconds(100);

void atOnce(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool later() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }
}  // namespace

std::unique_ptr<Peers> TcpPeers::connect(const std::string& group, int rank, const std::vector<int>& processOf) {
  const int own = TcpEndpoint::instance().own();
  if (std::all_of(processOf.begin(), processOf.end(), [&](int process) { return process == own; })) return nullptr;
  return std::unique_ptr<Peers>(new TcpPeers(group, rank, processOf));
}

TcpPeers::TcpPeers(const std::string& group, int rank, const std::vector<int>& processOf) : group_(group), rank_(rank) {
  for (int other = 0; other < static_cast<int>(processOf.size()); ++other) {
    if (processOf[other] == TcpEndpoint::instance().own()) continue;
    ranks_.push_back(other);
    links_.emplace_back(other, processOf[other]);
  }
  TcpEndpoint::instance().watch(this);
}

TcpPeers::~TcpPeers() {
  TcpEndpoint::instance().unwatch(this);
  abort("Communicator '" + group_ + "': rank " + std::to_string(rank_) + " has left; " + kOthersCannotGoOn);
  std::lock_guard lock(mutex_);
  farewell();
  for (const Link& link : links_)
    if (link.socket >= 0) close(link.socket);
}

void TcpPeers::watch(std::function<void(const std::string& why)> failed) {
  std::lock_guard lock(stateMutex_);
  failed_ = std::move(failed);
}

void TcpPeers::fail(const std::string& why) {
  std::function<void(const std::string& why)> failed;
  {
    std::lock_guard lock(stateMutex_);
    failed.swap(failed_);  // it is told once
  }
  if (failed) failed(why);
}

void TcpPeers::abort(const std::string& why) {
  {
    std::lock_guard lock(stateMutex_);
    if (aborted_) return;
    why_ = why;
    aborted_ = true;
  }
  // A swap in progress sees that within a slice, and says farewell itself.
  if (std::unique_lock lock(mutex_, std::try_to_lock); lock) farewell();
}

// Under mutex_. To whom a message is half sent nothing can be said; to lose the connection says enough.
void TcpPeers::farewell() {
  if (std::exchange(saidFarewell_, true)) return;
  std::string why;
  {
    std::lock_guard lock(stateMutex_);
    why = why_.substr(0, kMostText);
  }
  const uint32_t length = static_cast<uint32_t>(why.size());
  std::string message(1, kFailure);
  message.append(reinterpret_cast<const char*>(&length), sizeof length).append(why);
  for (const Link& link : links_) {
    if (link.socket < 0) continue;
    if (link.sent < 0) ::send(link.socket, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(link.socket, SHUT_WR);
  }
}

void TcpPeers::expectGoing() {
  if (!aborted_) return;
  farewell();
  std::lock_guard lock(stateMutex_);
  throw Error(why_);
}

std::string TcpPeers::gone(const Link& link) const {
  return "Communicator '" + group_ + "': rank " + std::to_string(link.rank) + " has gone without a word (process " +
         std::to_string(link.process) + " at " + TcpEndpoint::instance().address(link.process) + "); " + kOthersCannotGoOn;
}

void TcpPeers::look() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || !connected_ || saidFarewell_) return;
  for (Link& link : links_) {
    char kind = kData;
    const ssize_t count = recv(link.socket, &kind, 1, MSG_PEEK | MSG_DONTWAIT);
    if (count < 0 && later()) continue;
    if (count == 1 && kind == kData) continue;
    const std::string why = count == 1 ? heard(link) : gone(link);
    lock.unlock();
    fail(why);
    return;
  }
}

// The text of a failure, which is the next to be read.
std::string TcpPeers::heard(Link& link) {
  struct {
    char kind;
    char length[sizeof(uint32_t)];
    char text[kMostText];
  } message;
  size_t known = 0;
  for (const auto begin = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - begin < std::chrono::seconds(1);) {
    const ssize_t count = recv(link.socket, reinterpret_cast<char*>(&message) + known, sizeof message - known, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && !later())) break;
    if (count < 0) {
      pollfd waiting{link.socket, POLLIN, 0};
      poll(&waiting, 1, static_cast<int>(kSlice.count()));
      continue;
    }
    known += static_cast<size_t>(count);
    uint32_t length = 0;
    if (known < 1 + sizeof length) continue;
    std::memcpy(&length, message.length, sizeof length);
    length = std::min<uint32_t>(length, kMostText);
    if (known >= 1 + sizeof length + length) return std::string(message.text, length);
  }
  return gone(link);
}

// Whether the process has taken the call; it may be busy starting, and then it is to be tried again.
bool TcpPeers::dial(Link& link, const TcpHello& hello) {
  const std::string& address = TcpEndpoint::instance().address(link.process);
  const size_t colon = address.rfind(':');
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const std::string host = address.substr(0, colon), port = address.substr(colon + 1);
  if (const int problem = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); problem != 0)
    throw Error("Process " + std::to_string(link.process) + " at " + address + " cannot be found: " + gai_strerror(problem));
  bool isThere = false;
  for (const addrinfo* at = found; at != nullptr && !isThere; at = at->ai_next) {
    const int socket = ::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0) continue;
    pollfd waiting{socket, POLLOUT, 0};
    int problem = ::connect(socket, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    socklen_t size = sizeof problem;
    // A second is enough for a machine that is there; one that is not is tried again.
    if (problem == EINPROGRESS && poll(&waiting, 1, 1000) == 1) getsockopt(socket, SOL_SOCKET, SO_ERROR, &problem, &size);
    isThere = problem == 0 && ::send(socket, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello;  // fits into an empty buffer
    if (isThere) link.socket = socket;
    if (!isThere) close(socket);
  }
  freeaddrinfo(found);
  return isThere;
}

// The higher rank of a pair calls the lower one.
void TcpPeers::connectAll(const std::function<void(const std::vector<int>& missing)>& waiting) {
  TcpEndpoint& endpoint = TcpEndpoint::instance();
  const auto missing = [&] {
    std::vector<int> ranks;
    for (const Link& link : links_)
      if (link.socket < 0) ranks.push_back(link.rank);
    return ranks;
  };
  while (!connected_) {
    for (Link& link : links_) {
      if (link.socket >= 0) continue;
      expectGoing();
      if (link.rank > rank_) {
        link.socket = endpoint.take(TcpHello(endpoint.token(), group_, link.rank, rank_));
      } else if (!dial(link, TcpHello(endpoint.token(), group_, rank_, link.rank))) {
        std::this_thread::sleep_for(kSlice);
      }
      if (link.socket >= 0) atOnce(link.socket);
    }
    if (const std::vector<int> ranks = missing(); !ranks.empty()) waiting(ranks);
    else connected_ = true;
  }
}

void TcpPeers::swap(const std::vector<Piece>& outgoing, const std::vector<Piece>& incoming,
                    const std::function<void(const std::vector<int>& missing)>& waiting) {
  std::lock_guard lock(mutex_);
  expectGoing();
  if (std::exchange(broken_, true)) throw Error("Communicator '" + group_ + "': a swap has failed before");
  connectAll(waiting);
  const auto linkOf = [&](int rank) -> Link& {
    return *std::find_if(links_.begin(), links_.end(), [&](const Link& link) { return link.rank == rank; });
  };
  for (Link& link : links_) {
    link.out.clear();
    link.in.clear();
    link.sending = link.receiving = 0;
  }
  for (const Piece& piece : outgoing) linkOf(piece.rank).out.push_back(piece);
  for (const Piece& piece : incoming) linkOf(piece.rank).in.push_back(piece);

  auto asked = std::chrono::steady_clock::now();
  for (;;) {
    expectGoing();
    std::vector<pollfd> ready;
    std::vector<Link*> busy;
    for (Link& link : links_) {
      if (link.through()) continue;
      const bool sends = link.sending < link.out.size(), receives = link.receiving < link.in.size();
      ready.push_back({link.socket, static_cast<short>((sends ? POLLOUT : 0) | (receives ? POLLIN : 0)), 0});
      busy.push_back(&link);
    }
    if (busy.empty()) break;
    poll(ready.data(), ready.size(), static_cast<int>(kSlice.count()));
    for (size_t index = 0; index < busy.size(); ++index) {
      // First what has come, so that a last word is read before the connection turns out to be closed.
      if (busy[index]->receiving < busy[index]->in.size()) receive(*busy[index]);
      if (ready[index].revents & (POLLOUT | POLLERR | POLLHUP)) send(*busy[index]);
    }
    const auto now = std::chrono::steady_clock::now();
    if (now - asked < kSlice) continue;
    asked = now;
    std::vector<int> missing;
    for (const Link& link : links_)
      if (link.receiving < link.in.size()) missing.push_back(link.rank);
    if (!missing.empty()) waiting(missing);
  }
  broken_ = false;
}

void TcpPeers::send(Link& link) {
  while (link.sending < link.out.size()) {
    const Piece& piece = link.out[link.sending];
    char kind = kData;
    const int64_t done = std::max<int64_t>(link.sent, 0);
    iovec parts[] = {{&kind, 1}, {static_cast<char*>(piece.data) + done, static_cast<size_t>(piece.bytes - done)}};
    const bool begins = link.sent < 0;
    msghdr message{};
    message.msg_iov = begins ? parts : parts + 1;
    message.msg_iovlen = begins ? 2 : 1;
    if (begins || done < piece.bytes) {
      const ssize_t count = sendmsg(link.socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0 && later()) return;
      if (count < 0) throw Error(gone(link));
      link.sent += count;
    }
    if (link.sent < piece.bytes) return;
    link.sent = -1;
    ++link.sending;
  }
}

void TcpPeers::receive(Link& link) {
  while (link.receiving < link.in.size()) {
    const Piece& piece = link.in[link.receiving];
    if (link.received < 0) {
      char kind = kData;
      const ssize_t count = recv(link.socket, &kind, 1, MSG_PEEK | MSG_DONTWAIT);
      if (count < 0 && later()) return;
      if (count <= 0) throw Error(gone(link));
      if (kind != kData) throw Error(heard(link));
      recv(link.socket, &kind, 1, MSG_DONTWAIT);
      link.received = 0;
    }
    if (link.received < piece.bytes) {
      const size_t left = static_cast<size_t>(piece.bytes - link.received);
      const ssize_t count = recv(link.socket, static_cast<char*>(piece.data) + link.received, left, MSG_DONTWAIT);
      if (count < 0 && later()) return;
      if (count <= 0) throw Error(gone(link));
      link.received += count;
    }
    if (link.received < piece.bytes) return;
    link.received = -1;
    ++link.receiving;
  }
}

}  // namespace cd
