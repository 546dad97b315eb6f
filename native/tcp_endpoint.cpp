#include "tcp_endpoint.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "kernel.h"
#include "tcp_peers.h"

namespace cd {

namespace {
constexpr int kLookMilliseconds = 100;

void copyText(char* to, size_t room, const std::string& text, const char* what) {
  if (text.size() >= room)
    throw Error(std::string("Expected ") + what + " of fewer than " + std::to_string(room) + " bytes but received '" + text +
                "'");
  std::memcpy(to, text.data(), text.size());
}
}  // namespace

TcpHello::TcpHello(const std::string& token, const std::string& group, int from, int to) : from(from), to(to) {
  copyText(this->token, sizeof this->token, token, "a token");
  copyText(this->group, sizeof this->group, group, "a communicator's name");
}

std::string TcpHello::key() const {
  return std::string(group, strnlen(group, sizeof group)) + " " + std::to_string(from) + " " + std::to_string(to);
}

TcpEndpoint& TcpEndpoint::instance() {
  static TcpEndpoint endpoint;
  return endpoint;
}

TcpEndpoint::~TcpEndpoint() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
  if (listener_ >= 0) close(listener_);
  for (const auto& [key, socket] : arrived_) close(socket);
}

int TcpEndpoint::listen() {
  std::lock_guard lock(mutex_);
  if (listener_ >= 0) return port_;
  // One socket for IPv4 and IPv6; machines without IPv6 have only the other.
  int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_storage address{};
  socklen_t size = sizeof(sockaddr_in6);
  const int off = 0;
  address.ss_family = AF_INET6;  // any address, any port: all zeros
  if (listener >= 0) setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), size) < 0) {
    if (listener >= 0) close(listener);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address = {};
    address.ss_family = AF_INET;
    size = sizeof(sockaddr_in);
    if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), size) < 0)
      throw Error(std::string("No port for the other processes can be opened: ") + std::strerror(errno));
  }
  socklen_t length = sizeof address;
  if (::listen(listener, 1024) < 0 || getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) < 0)
    throw Error(std::string("No port for the other processes can be opened: ") + std::strerror(errno));
  listener_ = listener;
  port_ = ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                              : reinterpret_cast<sockaddr_in&>(address).sin_port);
  thread_ = std::thread([this] { run(); });
  return port_;
}

void TcpEndpoint::introduce(const std::string& token, int own, std::vector<std::string> addresses) {
  std::lock_guard lock(mutex_);
  token_ = token;
  own_ = own;
  addresses_ = std::move(addresses);
}

void TcpEndpoint::failAll(const std::string& why) {
  std::lock_guard lock(watchMutex_);
  for (TcpPeers* peers : watched_) peers->fail(why);
}

void TcpEndpoint::watch(TcpPeers* peers) {
  std::lock_guard lock(watchMutex_);
  watched_.push_back(peers);
}

void TcpEndpoint::unwatch(TcpPeers* peers) {
  std::lock_guard lock(watchMutex_);
  std::erase(watched_, peers);
}

int TcpEndpoint::take(const TcpHello& hello) {
  const std::string key = hello.key();
  std::unique_lock lock(mutex_);
  arrival_.wait_for(lock, std::chrono::milliseconds(kLookMilliseconds), [&] { return arrived_.contains(key); });
  const auto found = arrived_.find(key);
  if (found == arrived_.end()) return -1;
  const int socket = found->second;
  arrived_.erase(found);
  return socket;
}

// Whether the stranger is to be heard further.
bool TcpEndpoint::hear(Stranger& stranger) {
  const ssize_t count = recv(stranger.socket, stranger.hello + stranger.heard, sizeof(TcpHello) - stranger.heard, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (count > 0 && (stranger.heard += static_cast<size_t>(count)) < sizeof(TcpHello)) return true;
  if (count > 0) {
    TcpHello said("", "", 0, 0);
    std::memcpy(static_cast<void*>(&said), stranger.hello, sizeof said);
    std::lock_guard lock(mutex_);
    const TcpHello own(token_, "", 0, 0);
    const bool known = std::memcmp(said.magic, own.magic, sizeof said.magic) == 0 &&
                       std::memcmp(said.token, own.token, sizeof said.token) == 0 && !token_.empty();
    if (known && arrived_.emplace(said.key(), stranger.socket).second) {
      arrival_.notify_all();
      return false;
    }
  }
  close(stranger.socket);
  return false;
}

void TcpEndpoint::run() {
  std::vector<Stranger> strangers;
  auto looked = std::chrono::steady_clock::now();
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stop_) break;
    }
    std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
    for (const Stranger& stranger : strangers) waiting.push_back({stranger.socket, POLLIN, 0});
    poll(waiting.data(), waiting.size(), kLookMilliseconds);
    for (size_t index = strangers.size(); index-- > 0;)
      if (waiting[index + 1].revents != 0 && !hear(strangers[index]))
        strangers.erase(strangers.begin() + static_cast<long>(index));
    if (waiting[0].revents != 0) {
      const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (socket >= 0) strangers.push_back({socket, 0, {}});
    }
    const auto now = std::chrono::steady_clock::now();
    if (now - looked < std::chrono::milliseconds(kLookMilliseconds)) continue;
    looked = now;
    std::lock_guard lock(watchMutex_);
    for (TcpPeers* peers : watched_) peers->look();
  }
  for (const Stranger& stranger : strangers) close(stranger.socket);
}

}  // namespace cd
