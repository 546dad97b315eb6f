// Where this process is reached by the others of its run, and how it reaches them: one listening port, and one thread that takes
// connections in and looks after those that nobody is reading from. Once per process; ranks are threads of it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cd {

class TcpPeers;

// What whoever connects says first. Sent as it stands: all processes of a run are one build.
struct TcpHello {
  char magic[8] = {'c', 'd', '-', 'p', 'e', 'e', 'r', '1'};
  char token[32] = {};   // of the run; keeps strangers out
  char group[128] = {};  // a communicator's name
  int32_t from, to;      // ranks of the group

  TcpHello(const std::string& token, const std::string& group, int from, int to);
  std::string key() const;
};

class TcpEndpoint {
 public:
  static TcpEndpoint& instance();
  ~TcpEndpoint();

  // Opens the port, if that has not been done. → its number
  int listen();
  // Who the processes of the run are: process p is at addresses[p], `host:port`, and this one is `own`.
  void introduce(const std::string& token, int own, std::vector<std::string> addresses);
  // All groups that reach other processes fail with `why`.
  void failAll(const std::string& why);

  const std::string& token() const { return token_; }
  int own() const { return own_; }
  const std::string& address(int process) const { return addresses_.at(static_cast<size_t>(process)); }

  // The socket of whoever has said `hello`, waiting up to 100 ms for it; -1 when it has not come.
  int take(const TcpHello& hello);
  void watch(TcpPeers* peers);
  void unwatch(TcpPeers* peers);

 private:
  struct Stranger {
    int socket;
    size_t heard = 0;
    char hello[sizeof(TcpHello)];
  };
  void run();
  bool hear(Stranger& stranger);

  std::string token_;
  int own_ = 0;
  std::vector<std::string> addresses_;

  int listener_ = -1, port_ = 0;
  std::mutex mutex_;
  std::condition_variable arrival_;
  std::map<std::string, int> arrived_;  // sockets by what they said
  std::mutex watchMutex_;
  std::vector<TcpPeers*> watched_;
  bool stop_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace cd
